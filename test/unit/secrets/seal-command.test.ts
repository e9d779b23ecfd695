import { spawn } from "node:child_process";
import { once } from "node:events";
import { type FSWatcher, watch } from "node:fs";
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { chooseEditor, memoryDirectory } from "../../../scripts/lib/secrets/edit.ts";
import { parseSealed } from "../../../scripts/lib/secrets/sealed.ts";
import {
  type Ended,
  opened,
  runCommand,
  runOnTerminal,
  type SealRepository,
  sealCommand,
  sealFile,
  sealRepository,
} from "../support/seal.ts";
import { temporary, write } from "../support/tree.ts";

const GATEWAY = "overlays/dev/web/gateway.sops.yaml";
const PASS = "overlays/dev/web/pass.sops.yaml";
const LOGINS = ["overlays/dev/disk/login.sops.yaml", "overlays/dev/web/web-login.sops.yaml"] as const;
const ON_PASS = ["dev", "web", "--secret", "pass"] as const;
const ON_GATEWAY = ["dev", "web", "--secret", "gateway"] as const;

async function run(
  repository: SealRepository,
  args: readonly string[],
  input: string | Uint8Array = "",
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const { root } = repository;
  return runCommand(sealCommand(repository, ...args), {
    env: { ...repository.env, ...env },
    cwd: root,
    input,
  });
}

async function type(
  repository: SealRepository,
  args: readonly string[],
  answers: readonly (readonly [string, string])[],
  env: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const options = { env: { ...repository.env, ...env }, cwd: repository.root };
  return runOnTerminal(sealCommand(repository, ...args), options, answers);
}

/** An editor that runs a shell command with the file's path in `$1`. */
async function editor(body: string): Promise<string> {
  const file = join(await temporary(), "editor");
  await writeFile(file, `#!/bin/sh\n${body}\n`);
  await chmod(file, 0o755);
  return file;
}

describe("a value from standard input", { timeout: 60_000 }, () => {
  it("is sealed as it is, in a new file that the overlay still has to list", async () => {
    const repository = await sealRepository();
    const { exitCode, output } = await run(repository, ON_PASS, "a\nb: 'ü'");
    expect(output).toBe(`FILE                                  NEW VALUES
${PASS}  new  word

dev is readable for cluster-dev
add to \`resources\` of overlays/dev/web/kustomization.yaml:
  - pass.sops.yaml
sealed: commit it and open a pull request
`);
    expect(exitCode).toBe(0);
    expect(await opened(repository, PASS)).toEqual({ word: "a\nb: 'ü'" });
  });

  it("is sealed for whom the rules name, whatever sops finds in its environment", async () => {
    const repository = await sealRepository();
    const { root, identities } = repository;
    const other = identities["live"]?.recipient;
    await write(root, { "other.yaml": `creation_rules: [{age: ${other}}]\n` });
    await run(repository, ON_PASS, "w", {
      SOPS_AGE_RECIPIENTS: other,
      SOPS_CONFIG: join(root, "other.yaml"),
    });
    const text = await readFile(join(root, PASS), "utf8");
    expect(parseSealed(text, PASS).sops?.recipients).toEqual([identities["dev"]?.recipient]);
  });

  it("keeps a newline that a program has put behind it, and says so", async () => {
    const repository = await sealRepository();
    const { output } = await run(repository, ON_PASS, "word\n");
    expect(output).toContain(
      "the value of word ends with a newline, which is sealed with it; printf %s makes none\n",
    );
    expect(await opened(repository, PASS)).toEqual({ word: "word\n" });
    expect((await run(repository, ON_PASS, "two\nlines\n")).output).not.toContain("newline");
  });

  it.each([
    ["nothing", ON_PASS, "", 3, "seal: standard input is empty; "],
    ["a newline and nothing else", ON_PASS, "\n", 3, "seal: standard input is empty; "],
    [
      "too much",
      ON_PASS,
      Buffer.alloc(1024 * 1024 + 1),
      3,
      "seal: standard input has more than the 1048576 bytes",
    ],
    [
      "one for several keys",
      ON_GATEWAY,
      "x",
      2,
      "seal: standard input brings one value, and these are wanted: api-key, hook, token; name one KEY",
    ],
    ["an environment that there is not", ["prod", "web"], "x", 2, 'seal: there is no environment "prod"; '],
    [
      "edit without a terminal",
      ["--edit", ...ON_PASS],
      "x",
      3,
      "seal: web has no sealed web/pass in dev yet; ",
    ],
    [
      "edit with keys",
      ["--edit", ...ON_PASS, "word"],
      "x",
      2,
      "seal: --edit is about all keys of a Secret; ",
    ],
    ["edit with a dry run", ["--edit", "--dry-run", ...ON_PASS], "x", 2, "seal: --edit has no dry run; "],
    [
      "rotate and generate",
      ["--rotate", "--generate", "dev", "all"],
      "x",
      2,
      "seal: --generate, --edit and --rotate",
    ],
    [
      "a file that is not there",
      [...ON_PASS, "--from-file", "word=hunter2"],
      "x",
      3,
      "seal: the file for word cannot be read: ENOENT; ",
    ],
  ] as const)("that is %s is refused", async (_, args, input, exitCode, line) => {
    const repository = await sealRepository();
    const ended = await run(repository, args, input);
    expect(ended.output).toContain(line);
    expect(ended.output).toMatch(/^[^\n]+\n$/);
    expect(ended.output).not.toContain("hunter2");
    expect(ended.exitCode).toBe(exitCode);
    await expect(readFile(join(repository.root, PASS))).rejects.toThrow("ENOENT");
  });
});

describe("without being asked for values", { timeout: 60_000 }, () => {
  it("makes those that the catalogue generates, alike in all copies and environments", async () => {
    const repository = await sealRepository();
    expect((await run(repository, ["--generate", "dev,test", "disk"])).exitCode).toBe(0);
    const values = await Promise.all(
      [...LOGINS, "overlays/test/disk/login.sops.yaml"].map((path) => opened(repository, path)),
    );
    expect(values[0]?.["password"]).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(values).toEqual([values[0], values[0], values[0]]);
  });

  it("takes several from files", async () => {
    const repository = await sealRepository();
    const directory = await temporary();
    await write(directory, { a: "one\ntwo\n", b: "three" });
    const files = ["--from-file", `api-key=${directory}/a`, "--from-file", `hook=${directory}/b`];
    const { output } = await run(repository, [...ON_GATEWAY, ...files, "token"], "four");
    expect(output).toContain(`${GATEWAY}  new  api-key, hook, token\n`);
    expect(await opened(repository, GATEWAY)).toEqual({
      "api-key": "one\ntwo\n",
      hook: "three",
      token: "four",
    });
  });

  it("says what it would write, and writes nothing", async () => {
    const repository = await sealRepository();
    const { output } = await run(repository, ["--dry-run", "dev", "disk"]);
    expect(output).toMatch(
      /login\.sops\.yaml +new +password\n.*web-login\.sops\.yaml +new +password\n[^]*\ndry run: nothing was written\n$/,
    );
    expect(await readdir(join(repository.root, "overlays/dev/disk"))).toEqual(["kustomization.yaml"]);
  });

  it("seals again, with a private key only", async () => {
    const repository = await sealRepository();
    await sealFile(repository, PASS, { word: "w" });
    const file = join(repository.root, PASS);
    const before = await readFile(file, "utf8");
    const blind = await run(repository, ["--rotate", "dev", "all"]);
    expect(blind.output).toMatch(/^seal: no private key here opens .*; point SOPS_AGE_KEY_FILE to [^\n]*\n$/);
    expect(await readFile(file, "utf8")).toBe(before);
    const { output } = await run(repository, ["--rotate", "dev", "all"], "", {
      SOPS_AGE_KEY_FILE: repository.keyFile,
    });
    expect(output).toMatch(/^FILE +NEW DATA KEY\n\S+pass\.sops\.yaml +values as before\nsealed: /);
    expect(await readFile(file, "utf8")).not.toBe(before);
    expect(await opened(repository, PASS)).toEqual({ word: "w" });
  });
});

describe("on a terminal", { timeout: 60_000 }, () => {
  it("asks for each key twice, shows nothing of it, and generates where nothing is typed", async () => {
    const repository = await sealRepository();
    const { output, exitCode } = await type(repository, ON_GATEWAY, [
      // With a slip, and with what an arrow key sends.
      ["api-key (the provider's console): ", "hunterx\x7f2\x1b[D\r"],
      ["again: ", "hunter2\r"],
      ["hook (the provider's mail): ", "nothing\x15grüße 🔑\r"],
      ["again: ", "grüße 🔑\r"],
      ["token (empty: a new random one): ", "\r"],
    ]);
    expect(exitCode).toBe(0);
    expect(output).not.toMatch(/hunter|grüße|nothing/);
    expect(await opened(repository, GATEWAY)).toEqual({
      "api-key": "hunter2",
      hook: "grüße 🔑",
      token: expect.stringMatching(/^[A-Za-z0-9]{16}$/),
    });
  });

  it.each([
    [
      "two that differ",
      [
        ["): ", "hunter2\r"],
        ["again: ", "hunter3\r"],
      ],
      3,
      "seal: the two differ, so nothing was sealed; ",
    ],
    [
      "several lines at once",
      [["): ", "hunter2\rmore\r"]],
      3,
      "seal: the two differ, so nothing was sealed; ",
    ],
    ["nothing", [["): ", "\r"]], 3, "seal: word is empty, so nothing was sealed; it comes from somebody"],
    ["the end", [["): ", "hunter2\x04"]], 3, "seal: the prompt was left without an answer; "],
    ["Ctrl-C", [["): ", "hunter2\x03"]], 130, ""],
  ] as const)("%s ends it", async (_, answers, exitCode, line) => {
    const repository = await sealRepository();
    const ended = await type(repository, ON_PASS, answers);
    expect(ended.output).toContain(line);
    expect(ended.output).not.toMatch(/hunter|more/);
    expect(ended.exitCode).toBe(exitCode);
    await expect(readFile(join(repository.root, PASS))).rejects.toThrow("ENOENT");
  });
});

describe("in an editor", { timeout: 60_000 }, () => {
  async function edited(
    body: string,
  ): Promise<{ repository: SealRepository; ended: Ended; before: string[] }> {
    const repository = await sealRepository();
    for (const path of LOGINS) await sealFile(repository, path, { user: "shop", password: "old" });
    const before = await Promise.all(LOGINS.map((path) => readFile(join(repository.root, path), "utf8")));
    const env = { EDITOR: await editor(body), SOPS_AGE_KEY_FILE: repository.keyFile };
    const ended = await type(repository, ["--edit", "dev", "web", "--secret", "web-login"], [], env);
    return { repository, ended, before };
  }

  it("the values are a file in memory that only its owner reads; all copies get what was changed", async () => {
    const proof = join(await temporary(), "proof");
    const { repository, ended } = await edited(
      `stat -f -c %T "$1" > ${proof}; stat -c %a "$(dirname "$(dirname "$1")")" "$1" >> ${proof}; echo "$1" >> ${proof}; sed -i 's/password: .*/password: "new"/' "$1"`,
    );
    expect(ended.output.replaceAll("\r", "")).toMatch(
      /login\.sops\.yaml +changed +password\n.*web-login\.sops\.yaml +changed +password\n/,
    );
    for (const path of LOGINS)
      expect(await opened(repository, path)).toEqual({ user: "shop", password: "new" });
    const [type_, directoryMode, fileMode, path = ""] = (await readFile(proof, "utf8")).split("\n");
    expect([type_, directoryMode, fileMode]).toEqual(["tmpfs", "700", "600"]);
    await expect(readdir(dirname(dirname(path)))).rejects.toThrow("ENOENT");
  });

  it("a key that gets a value is no placeholder any longer", async () => {
    const repository = await sealRepository();
    const { root } = repository;
    await sealFile(repository, GATEWAY, { "api-key": "a", hook: "h", token: "t" }, ["api-key", "hook"]);
    const env = {
      EDITOR: await editor(`sed -i 's/hook: .*/hook: "H"/' "$1"`),
      SOPS_AGE_KEY_FILE: repository.keyFile,
    };
    await type(repository, ["--edit", ...ON_GATEWAY], [], env);
    expect(await opened(repository, GATEWAY)).toEqual({ "api-key": "a", hook: "H", token: "t" });
    expect(parseSealed(await readFile(join(root, GATEWAY), "utf8"), GATEWAY).placeholders).toEqual([
      "api-key",
    ]);
  });

  it("takes a private key", async () => {
    const repository = await sealRepository();
    await sealFile(repository, PASS, { word: "w" });
    const { output } = await type(repository, ["--edit", ...ON_PASS], [], { EDITOR: "true" });
    expect(output).toContain(
      "seal: no private key here opens overlays/dev/web/pass.sops.yaml; point SOPS_AGE_KEY_FILE",
    );
  });

  it.each([
    ["nothing changed", "true", /^unchanged\n$/m, 0],
    [
      "a key more",
      `sed -i 's/^\\( *\\)password: .*/&\\n\\1more: "x"/' "$1"`,
      /would have other keys than user, password; nothing was changed/,
      3,
    ],
    [
      "a key less",
      `sed -i '/password: /d' "$1"`,
      /would have other keys than user, password; nothing was changed/,
      3,
    ],
    [
      "a fixed value",
      `sed -i 's/user: .*/user: "x"/' "$1"`,
      /user of \S+ has a fixed value; nothing was changed/,
      3,
    ],
    [
      "another Secret",
      `sed -i 's/name: web-login$/name: other/; s/password: .*/password: "x"/' "$1"`,
      /would be another Secret; nothing was changed/,
      3,
    ],
    [
      "a number",
      `sed -i 's/password: .*/password: 12345/' "$1"`,
      /every value is a text, in quotes; nothing was changed/,
      3,
    ],
    [
      "bytes that are no base64",
      `sed -i 's/stringData:/data:/; s/user: .*/user: c2hvcA==/; s/password: .*/password: "a b!"/' "$1"`,
      /stands under `data` and is not base64; nothing was changed/,
      3,
    ],
    ["an editor that fails", "exit 7", /ended with exit code 201: nothing was changed/, 5],
  ])("%s leaves the files as they were", async (_, body, line, exitCode) => {
    const { repository, ended, before } = await edited(body);
    expect(ended.output.replaceAll("\r", "")).toMatch(line);
    expect(ended.exitCode).toBe(exitCode);
    for (const [index, path] of LOGINS.entries())
      expect(await readFile(join(repository.root, path), "utf8")).toBe(before[index]);
  });

  it("an interruption removes the file", async () => {
    const proof = join(await temporary(), "proof");
    const { ended } = await edited(`echo "$1" > ${proof}; kill -INT $(ps -o ppid= -p $PPID); exec sleep 600`);
    expect(ended.exitCode).toBe(130);
    const path = (await readFile(proof, "utf8")).trim();
    await expect(readdir(dirname(dirname(path)))).rejects.toThrow("ENOENT");
  });

  it("is refused where files cannot be in memory", async () => {
    await expect(memoryDirectory(repositoryRoot())).rejects.toThrow(
      "is not in memory, and an editor's file must not be on a disk",
    );
    await expect(memoryDirectory("/nowhere")).rejects.toThrow("is not in memory");
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
});

describe("killed", { timeout: 120_000 }, () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])(
    "at the %i. change of a directory, each file is the old one or the new one",
    async (moment) => {
      const repository = await sealRepository();
      for (const path of LOGINS) await sealFile(repository, path, { user: "shop", password: "old" });
      const value = "new".repeat(80_000);
      const [program, ...args] = sealCommand(repository, "dev", "disk");
      const child = spawn(program, args, {
        env: repository.env,
        cwd: repository.root,
        stdio: ["pipe", "ignore", "ignore"],
      });
      let seen = 0;
      const onChange = () => {
        seen += 1;
        if (seen === moment) child.kill("SIGKILL");
      };
      const watchers: FSWatcher[] = LOGINS.map((path) =>
        watch(join(repository.root, dirname(path)), onChange),
      );
      onTestFinished(() => watchers.forEach((watcher) => watcher.close()));
      child.stdin.on("error", () => {});
      child.stdin.end(value);
      if (moment === 0) child.kill("SIGKILL");
      await once(child, "exit");
      for (const path of LOGINS) {
        const { password } = await opened(repository, path);
        const found = ["old", value].indexOf(password ?? "");
        expect(moment === 0 ? [0] : [0, 1]).toContain(found);
      }
    },
  );
});

it("npm runs it without core dumps, and hands it its arguments", { timeout: 60_000 }, async () => {
  const repository = await sealRepository();
  const aside = await temporary();
  const limits = join(aside, "limits");
  await writeFile(
    join(aside, "look.cjs"),
    `const fs = require("node:fs"); if (process.argv[2] === "seal") fs.writeFileSync(${JSON.stringify(limits)}, fs.readFileSync("/proc/self/limits"));`,
  );
  const env = { ...repository.env, NODE_OPTIONS: `--require=${join(aside, "look.cjs")}` };
  const npm = 'ulimit -S -c unlimited; exec npm run --silent seal -- --root "$1" --dry-run dev disk';
  const { output } = await runCommand(["sh", "-c", npm, "sh", repository.root], {
    env,
    cwd: repositoryRoot(),
  });
  expect(output).toContain("dry run: nothing was written");
  expect(await readFile(limits, "utf8")).toMatch(/^Max core file size +0 +0 +bytes/m);
});
