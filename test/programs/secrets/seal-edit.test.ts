/** `npm run seal -- --edit`: the real sops, on a terminal, with editors that are shell scripts. */
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { chooseEditor } from "../../../scripts/lib/secrets/seal/edit.ts";
import { waitForEnter } from "../../../scripts/lib/secrets/seal/prompt.ts";
import { parseSealed } from "../../../scripts/lib/secrets/sealed.ts";
import {
  type Ended,
  editor,
  opened,
  runOnTerminal,
  type SealRepository,
  sealCommand,
  sealFile,
  sealRepository,
} from "../../support/seal.ts";
import { temporary } from "../../support/tree.ts";

const GATEWAY = "overlays/dev/web/gateway.sops.yaml";
const LOGINS = ["overlays/dev/disk/login.sops.yaml", "overlays/dev/web/web-login.sops.yaml"] as const;
const ENTER = ["Press Enter to return to the editor, or Ctrl-C to give up.", "\r"] as const;

interface Edited {
  repository: SealRepository;
  ended: Ended;
  /** The sealed files, as they were. */
  before: string[];
  /** How often the editor was opened. */
  rounds: number;
}

/** Edits one of two copies of a login. */
async function edited(
  bodies: readonly string[],
  answers: readonly (readonly [string, string])[] = [],
): Promise<Edited> {
  const repository = await sealRepository();
  for (const path of LOGINS) await sealFile(repository, path, { user: "shop", password: "old" });
  const before = await contents(repository);
  const program = await editor(...bodies);
  const env = { ...repository.env, EDITOR: program, SOPS_AGE_KEY_FILE: repository.keyFile };
  const command = sealCommand(repository, "--edit", "dev", "web", "--secret", "web-login");
  const ended = await runOnTerminal(command, { env, cwd: repository.root }, answers);
  ended.output = ended.output.replaceAll("\r", "");
  const rounds = await readFile(`${program}.rounds`, "utf8").then(Number, () => 0);
  return { repository, ended, before, rounds };
}

async function contents({ root }: SealRepository): Promise<string[]> {
  return Promise.all(LOGINS.map((path) => readFile(join(root, path), "utf8")));
}

async function editGateway(repository: SealRepository, env: NodeJS.ProcessEnv): Promise<Ended> {
  const command = sealCommand(repository, "--edit", "dev", "web", "--secret", "gateway");
  return runOnTerminal(command, { env: { ...repository.env, ...env }, cwd: repository.root }, []);
}

describe("in an editor", () => {
  it("the values are a file in memory that only its owner reads; all copies get what was changed", async () => {
    const proof = join(await temporary(), "proof");
    const { repository, ended } = await edited([
      `stat -f -c %T "$1" > ${proof}; stat -c %a "$(dirname "$(dirname "$1")")" "$1" >> ${proof}; echo "$1" >> ${proof}; sed -i 's/password: .*/password: "new"/' "$1"`,
    ]);
    expect(ended.output).toMatch(
      /login\.sops\.yaml +changed +password\n.*web-login\.sops\.yaml +changed +password\n/,
    );
    for (const path of LOGINS)
      expect(await opened(repository, path)).toEqual({ user: "shop", password: "new" });
    const [type, directoryMode, fileMode, path = ""] = (await readFile(proof, "utf8")).split("\n");
    expect([type, directoryMode, fileMode]).toEqual(["tmpfs", "700", "600"]);
    await expect(readdir(dirname(dirname(path)))).rejects.toThrow("ENOENT");
  });

  it("a key that gets a value is no placeholder any longer", async () => {
    const repository = await sealRepository();
    await sealFile(repository, GATEWAY, { "api-key": "a", hook: "h", token: "t" }, ["api-key", "hook"]);
    await editGateway(repository, {
      EDITOR: await editor(`sed -i 's/hook: .*/hook: "H"/' "$1"`),
      SOPS_AGE_KEY_FILE: repository.keyFile,
    });
    expect(await opened(repository, GATEWAY)).toEqual({ "api-key": "a", hook: "H", token: "t" });
    const text = await readFile(join(repository.root, GATEWAY), "utf8");
    expect(parseSealed(text, GATEWAY).placeholders).toEqual(["api-key"]);
  });

  it("takes a private key", async () => {
    const repository = await sealRepository();
    await sealFile(repository, GATEWAY, { "api-key": "a", hook: "h", token: "t" });
    const { output } = await editGateway(repository, { EDITOR: "true" });
    expect(output).toContain(`seal: no private key here opens ${GATEWAY}; point SOPS_AGE_KEY_FILE`);
  });

  it.each([
    ["nothing changed", "true", /^unchanged\n$/m, 0],
    ["an editor that fails", "exit 7", /ended with exit code 201: nothing was changed/, 5],
  ])("%s leaves the files as they were", async (_, body, line, exitCode) => {
    const { repository, ended, before } = await edited([body]);
    expect(ended.output).toMatch(line);
    expect(ended.exitCode).toBe(exitCode);
    expect(await contents(repository)).toEqual(before);
  });

  it("an interruption removes the file", async () => {
    const proof = join(await temporary(), "proof");
    const { ended } = await edited([
      `echo "$1" > ${proof}; kill -INT $(ps -o ppid= -p $PPID); exec sleep 600`,
    ]);
    expect(ended.exitCode).toBe(130);
    const path = (await readFile(proof, "utf8")).trim();
    await expect(readdir(dirname(dirname(path)))).rejects.toThrow("ENOENT");
  });
});

/** Puts a key beside the others. */
const MORE = `sed -i 's/^\\( *\\)password: .*/\\1password: "new"\\n\\1more: "x"/' "$1"`;
const LARGE = `indent=$(sed -n 's/password: .*//p' "$1"); sed -i '/password: /d' "$1"
{ printf '%spassword: "' "$indent"; head -c 1100000 /dev/zero | tr '\\0' x; echo '"'; } >> "$1"`;

describe("an edited text that is refused", () => {
  it.each([
    ["a key more", MORE, /would have other keys than user, password; nothing was changed/],
    [
      "a key less",
      `sed -i '/password: /d' "$1"`,
      /would have other keys than user, password; nothing was changed/,
    ],
    [
      "values that are not under `stringData`",
      `sed -i 's/stringData:/stringdata:/' "$1"`,
      /would have other keys than user, password; nothing was changed/,
    ],
    [
      "a fixed value",
      `sed -i 's/user: .*/user: "x"/' "$1"`,
      /user of \S+ has a fixed value; nothing was changed/,
    ],
    [
      "another Secret",
      `sed -i 's/name: web-login$/name: other/; s/password: .*/password: "x"/' "$1"`,
      /would be another Secret; nothing was changed/,
    ],
    [
      "a number",
      `sed -i 's/password: .*/password: 12345/' "$1"`,
      /every value is a text, in quotes; nothing was changed/,
    ],
    [
      "bytes that are no base64",
      `sed -i 's/stringData:/data:/; s/user: .*/user: c2hvcA==/; s/password: .*/password: "a b!"/' "$1"`,
      /stands under `data` and is not base64; nothing was changed/,
    ],
    ["more than a Secret holds", LARGE, /have 1100004 bytes, and a Secret holds 1048576 at most/],
  ])("for %s is opened again, and given up when it stays as it is", async (_, body, line) => {
    const aside = await temporary();
    const keep = `cp "$1" ${aside}/`;
    const { repository, ended, before } = await edited(
      [`${body}; ${keep}first`, `${keep}second`, `${keep}third`],
      [ENTER, ENTER],
    );
    const [said, gaveUp] = ended.output.split(ENTER[0]);
    expect(said).toMatch(line);
    expect(gaveUp).toMatch(line);
    expect(gaveUp).toMatch(/^\n[^\n]*\n?(File has not changed, exiting\.\n)?seal: [^\n]+\n$/);
    expect(ended.exitCode).toBe(3);
    expect(await contents(repository)).toEqual(before);
    // Only its quotes may be others.
    const [first, second] = await Promise.all(
      ["first", "second"].map(async (name) => parse(await readFile(join(aside, name), "utf8"))),
    );
    expect(second).toStrictEqual(first);
    expect(await readdir(aside)).toEqual(["first", "second"]);
  });

  it("can be put right, also after several refusals", async () => {
    const { repository, ended } = await edited(
      [
        MORE,
        `sed -i '/more: /d; s/password: .*/password: 12345/' "$1"`,
        `sed -i 's/password: .*/password: "12345"/' "$1"`,
      ],
      [ENTER, ENTER],
    );
    expect(ended.output).toMatch(/would have other keys[^]*every value is a text[^]*\nsealed: /);
    expect(ended.exitCode).toBe(0);
    for (const path of LOGINS)
      expect(await opened(repository, path)).toEqual({ user: "shop", password: "12345" });
  });

  it("can be taken back", async () => {
    const back = `sed -i '/more: /d; s/password: .*/password: old/' "$1"`;
    const { repository, ended, before } = await edited([MORE, back], [ENTER]);
    expect(ended.output).toMatch(/\nunchanged\n$/);
    expect(ended.exitCode).toBe(0);
    expect(await contents(repository)).toEqual(before);
  });

  it.each([
    ["Ctrl-D", "\x04", 3, /\nseal: \S+ would have other keys/],
    ["Ctrl-C", "\x03", 130, /give up\.\n\^C$/],
  ])("is not opened again by itself: %s gives it up", async (_, key, exitCode, line) => {
    const { repository, ended, before, rounds } = await edited([MORE, MORE], [[ENTER[0], key]]);
    expect(ended.output).toMatch(line);
    expect(ended.exitCode).toBe(exitCode);
    expect(rounds).toBe(1);
    expect(await contents(repository)).toEqual(before);
  });
});

it("a terminal is asked for Enter again and again, and left to others in between", async () => {
  const input = new PassThrough();
  const before = input.eventNames();
  for (let round = 0; round < 12; round += 1) {
    const answer = waitForEnter(input);
    input.write("\n");
    expect(await answer).toBe(true);
    expect(input.isPaused()).toBe(true);
    expect(input.eventNames()).toEqual(before);
  }
  const answer = waitForEnter(input);
  input.end();
  expect(await answer).toBe(false);
});

it("vim, nvim and nano are kept from leaving copies; of others it says that it does not know", async () => {
  const bin = await temporary();
  const programs = join(bin, "programs");
  await mkdir(programs);
  for (const name of ["vim.tiny", "nvi"]) {
    await writeFile(join(programs, name), "");
    await chmod(join(programs, name), 0o755);
  }
  const choose = (editor_: string | undefined) => chooseEditor({ PATH: bin, EDITOR: editor_ });
  expect(() => choose(undefined)).toThrow("there is no editor");
  expect(choose("/usr/bin/vim -u NONE")).toEqual({
    command: expect.stringMatching(
      /^\/usr\/bin\/vim -u NONE -n -i NONE -c "silent! set nobackup nowritebackup noswapfile" /,
    ),
    isQuiet: true,
  });
  expect(choose("nvim").isQuiet).toBe(true);
  expect(choose("nano")).toEqual({ command: "nano --ignorercfiles", isQuiet: true });
  expect(choose("code --wait")).toEqual({ command: "code --wait", isQuiet: false });
  await symlink(join(programs, "nvi"), join(bin, "vi"));
  expect(choose(undefined)).toEqual({ command: "vi", isQuiet: false });
  await symlink(join(programs, "vim.tiny"), join(programs, "vi"));
  expect(chooseEditor({ PATH: programs }).isQuiet).toBe(true);
});
