import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { tryLock } from "../../../scripts/lib/lock.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { parseSealed } from "../../../scripts/lib/secrets/sealed.ts";
import { waitFor } from "../../../scripts/lib/wait.ts";
import { openFiles } from "../../support/processes.ts";
import {
  type Ended,
  opened,
  runCommand,
  runOnTerminal,
  type SealRepository,
  sealCommand,
  sealFile,
  sealRepository,
} from "../../support/seal.ts";
import { temporary, write } from "../../support/tree.ts";

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

describe("a value from standard input", () => {
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
      "nothing, in a file",
      [...ON_PASS, "--from-file", "word=/dev/null"],
      "x",
      3,
      "seal: the file for word is empty; did the program before it fail? A value that is to be empty: --empty KEY",
    ],
    [
      "empty and in a file",
      [...ON_PASS, "--empty", "word", "--from-file", "word=/dev/null"],
      "x",
      2,
      "seal: word has two",
    ],
    [
      "empty and generated",
      [...ON_GATEWAY, "--empty", "token"],
      "x",
      2,
      "seal: token of web/gateway is generated, and cannot be empty; ",
    ],
    ["edit and empty", ["--edit", ...ON_PASS, "--empty", "word"], "x", 2, "seal: --edit is about all keys"],
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

describe("without being asked for values", () => {
  it("makes those that the catalogue generates, alike in all copies of an environment and in no other", async () => {
    const repository = await sealRepository();
    expect((await run(repository, ["--generate", "dev,test", "disk"])).exitCode).toBe(0);
    const values = await Promise.all(
      [...LOGINS, "overlays/test/disk/login.sops.yaml"].map((path) => opened(repository, path)),
    );
    const [one, copy, other] = values;
    expect(one?.["password"]).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(copy).toEqual(one);
    expect(other).toEqual({ user: "shop", password: expect.stringMatching(/^[A-Za-z0-9]{32}$/) });
    expect(other).not.toEqual(one);
  });

  it("takes an empty one when that is said, without a private key", async () => {
    const repository = await sealRepository();
    await sealFile(repository, GATEWAY, { "api-key": "a", hook: "h", token: "t" });
    const args = [...ON_GATEWAY, "--empty", "hook", "--empty", "api-key", "token"];
    expect((await run(repository, args, "new")).exitCode).toBe(0);
    expect(await opened(repository, GATEWAY)).toEqual({ "api-key": "", hook: "", token: "new" });
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

describe("on a terminal", () => {
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
    ["Ctrl-C, whatever comes behind it,", [["): ", "\x03\x15hunter2\rhunter2\r"]], 130, ""],
  ] as const)("%s ends it", async (_, answers, exitCode, line) => {
    const repository = await sealRepository();
    const ended = await type(repository, ON_PASS, answers);
    expect(ended.output).toContain(line);
    expect(ended.output).not.toMatch(/hunter|more/);
    expect(ended.exitCode).toBe(exitCode);
    await expect(readFile(join(repository.root, PASS))).rejects.toThrow("ENOENT");
  });
});

it("of several lines that are pasted none is sealed, and none reaches the shell", async () => {
  const repository = await sealRepository();
  const shell = "shell> ";
  const history = join(await temporary(), "history");
  const env = { ...repository.env, PS1: shell, HISTFILE: history, INPUTRC: "/dev/null" };
  const line = join(await temporary(), "line");
  const command = sealCommand(repository, ...ON_PASS).map((word) => `'${word}'`);
  await writeFile(line, `exec ${command.join(" ")}`);
  const lines = Array.from({ length: 70 }, (_, index) => `${index}`.padEnd(64, "hunter")).join("\r");
  const { output } = await runOnTerminal(["bash", "--norc", "-i"], { env, cwd: repository.root }, [
    [shell, `sh ${line}\r`],
    ["): ", `${lines}\r`],
    [shell, "exit\r"],
  ]);
  expect(output).toContain("seal: the two differ, so nothing was sealed; ");
  expect(output).not.toContain("hunter");
  expect(await readFile(history, "utf8")).toBe(`sh ${line}\nexit\n`);
  await expect(readFile(join(repository.root, PASS))).rejects.toThrow("ENOENT");
});

it("npm runs it without core dumps, and hands it its arguments", async () => {
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

describe("a value from a pipe", () => {
  it("is what comes through it", async () => {
    const repository = await sealRepository();
    const line = sealCommand(repository, ...ON_PASS, "--from-file", "word=/dev/fd/3").map(
      (word) => `'${word}'`,
    );
    const shell = ["bash", "-c", `${line.join(" ")} 3< <(sleep 0.2; printf piped)`] as const;
    const { exitCode } = await runCommand([...shell], { env: repository.env, cwd: repository.root });
    expect(exitCode).toBe(0);
    expect(await opened(repository, PASS)).toEqual({ word: "piped" });
  });

  it("that never comes can be given up", async () => {
    const repository = await sealRepository();
    const { root, env } = repository;
    const pipe = join(await temporary(), "pipe");
    await tryRun("mkfifo", [pipe]);
    const writer = await open(pipe, "r+");
    onTestFinished(async () => writer.close());
    const [program, ...args] = sealCommand(repository, ...ON_PASS, "--from-file", `word=${pipe}`);
    const child = spawn(program, args, { cwd: root, env, stdio: "ignore" });
    const ended = once(child, "exit");
    const isReading = async () => ((await openFiles(child.pid ?? 0)).includes(pipe) ? true : undefined);
    await waitFor("it reads the pipe", isReading, { everyMs: 20 });
    child.kill("SIGINT");
    expect(await ended).toEqual([130, null]);
    expect(await readdir(join(root, "overlays/dev/web"))).not.toContain("pass.sops.yaml");
  });
});

it("two at the same moment leave copies that are alike", async () => {
  const repository = await sealRepository();
  const all = await Promise.all(
    Array.from({ length: 4 }, async () =>
      run(repository, ["--generate", "dev", "web", "--secret", "web-login"]),
    ),
  );
  expect(all.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0, 0]);
  const [first, second] = await Promise.all(LOGINS.map(async (path) => opened(repository, path)));
  expect(first).toEqual(second);
  expect(await readdir(join(repository.root, ".cache"))).toEqual([]);
});

it("one that waits for a value lets no other change anything meanwhile", async () => {
  const repository = await sealRepository();
  await mkdir(join(repository.root, ".cache"));
  const release = await tryLock(join(repository.root, ".cache/secrets.lock"));
  onTestFinished(async () => release?.());
  const { exitCode, output } = await run(repository, ON_PASS, "w");
  expect(output).toBe(
    "seal: another `npm run seal`, `keys` or `init` of this checkout is running; wait until it has ended; it may be one that waits for a value\n",
  );
  expect(exitCode).toBe(3);
});
