/** Values leave no trace: what a run of `npm run seal` writes, starts and says is searched for them. */
import { randomBytes } from "node:crypto";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { onPath } from "../../../scripts/lib/tools/go.ts";
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
import { commit, git, temporary } from "../support/tree.ts";

const GATEWAY = "overlays/dev/web/gateway.sops.yaml";
const ON_GATEWAY = ["--verbose", "dev", "web", "--secret", "gateway"] as const;
const STRACE = onPath("strace", process.env)[0];
/** All of what a program starts with and writes, with the names of what it writes to. */
const TRACE = "trace=execve,execveat,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg";
/** Between programs, and the file for the editor, which is in memory. */
const HARMLESS = /^\d+ +\w+\(\d+<(pipe:|socket:|UNIX|\/dev\/shm\/seal-)/;

/** A value that nothing else is, with characters that formats escape around it. */
function canary(): { word: string; value: string } {
  const word = randomBytes(24).toString("hex");
  return { word, value: `"${word}\\ü` };
}

/** How a word can stand in other text: as it is, and in base64 behind 0, 1 or 2 other bytes. */
function forms(word: string): string[] {
  const inner = [0, 1, 2].map((before) =>
    Buffer.from("-".repeat(before) + word)
      .toString("base64")
      .slice(before === 0 ? 0 : 4, -4),
  );
  return [word, ...inner, Buffer.from(word).toString("hex")];
}

interface Traced extends Ended {
  /** Where a word is that has no business there. */
  leaks(word: string): string[];
}

/** Runs a command line and keeps what it has left. */
async function traced(
  { root, env, keyFile }: SealRepository,
  command: readonly [string, ...string[]],
  how: { input?: string; answers?: readonly (readonly [string, string])[]; env?: NodeJS.ProcessEnv },
): Promise<Traced> {
  const log = join(await temporary(), "trace");
  const options = { env: { ...env, ...how.env }, cwd: root, input: how.input ?? "" };
  const whole: [string, ...string[]] =
    STRACE === undefined
      ? [...command]
      : [STRACE, "-f", "-v", "-y", "-s", "400000", "-e", TRACE, "-o", log, ...command];
  const ended =
    how.answers === undefined
      ? await runCommand(whole, options)
      : await runOnTerminal(whole, options, how.answers);
  const files = new Map<string, string>();
  for (const directory of [
    root,
    dirname(keyFile),
    // Others, such as Argo CD, keep files there, too; no other test of ours does.
    ...(await readdir("/dev/shm"))
      .filter((name) => name.startsWith("seal-"))
      .map((name) => join("/dev/shm", name)),
  ])
    for (const [path, text] of await contents(directory)) files.set(path, text);
  const calls = STRACE === undefined ? [] : (await readFile(log, "utf8")).split("\n");
  return {
    ...ended,
    leaks(word) {
      const has = (text: string) => forms(word).some((form) => text.includes(form));
      return [
        ...(has(ended.output) ? ["what it says"] : []),
        ...[...files].filter(([, text]) => has(text)).map(([path]) => path),
        ...calls.filter((call) => !HARMLESS.test(call) && has(call)).map((call) => call.slice(0, 120)),
      ];
    },
  };
}

async function contents(path: string): Promise<[string, string][]> {
  const about = await stat(path).catch(() => undefined);
  if (about?.isFile() === true) return [[path, await readFile(path, "latin1")]];
  if (about?.isDirectory() !== true) return [];
  const inside = await Promise.all((await readdir(path)).map(async (name) => contents(join(path, name))));
  return inside.flat();
}

describe("no trace of a value is left", { timeout: 120_000 }, () => {
  it("the search finds one in a file, an argument and an output", async () => {
    const repository = await sealRepository();
    const { word } = canary();
    const script = `printf %s "$1" | base64 -w0 > "$TMPDIR/left"; printf %s "$1"`;
    const run = await traced(repository, ["sh", "-c", script, "sh", `x${word}`], {});
    const found = run.leaks(word);
    expect(found[0]).toBe("what it says");
    expect(found[1]).toMatch(/tmp\/left$/);
    expect(found.some((leak) => leak.includes("execve("))).toBe(STRACE !== undefined);
  });

  it("by standard input, beside values that stay", async () => {
    const repository = await sealRepository();
    const [old, given] = [canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.value, hook: old.value, token: old.value });
    const run = await traced(repository, sealCommand(repository, ...ON_GATEWAY, "hook"), {
      input: given.value,
      env: { SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect(run.output).toContain("sealed:");
    expect(await opened(repository, GATEWAY)).toEqual({
      "api-key": old.value,
      hook: given.value,
      token: old.value,
    });
    expect([...run.leaks(old.word), ...run.leaks(given.word)]).toEqual([]);
  });

  it("by the prompt, and for a generated value", async () => {
    const repository = await sealRepository();
    const { word, value } = canary();
    const run = await traced(repository, sealCommand(repository, ...ON_GATEWAY), {
      answers: [
        ["api-key (the provider's console): ", `${value}\r`],
        ["again: ", `${value}\r`],
        ["hook (the provider's mail): ", `${value}\r`],
        ["again: ", `${value}\r`],
        ["token (empty: a new random one): ", "\r"],
      ],
    });
    const { token = "", hook } = await opened(repository, GATEWAY);
    expect(hook).toBe(value);
    expect(token).toHaveLength(16);
    expect([...run.leaks(word), ...run.leaks(token)]).toEqual([]);
  });

  it("in an editor, where it is refused once", async () => {
    const repository = await sealRepository();
    const [old, given, refused] = [canary(), canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.word, hook: old.word, token: old.word });
    const aside = await temporary();
    for (const [name, { word }] of Object.entries({ given, refused }))
      await writeFile(join(aside, name), word);
    // Takes the new value from a file: an argument of its own would be a leak that is not ours.
    await writeFile(
      join(aside, "editor"),
      `#!/usr/bin/env node
const fs = require("node:fs");
const text = fs.readFileSync(process.argv[2], "utf8");
const [given, refused] = ["given", "refused"].map((name) => fs.readFileSync("${aside}/" + name, "utf8"));
const [indent] = /^ *(?=hook: )/m.exec(text);
fs.writeFileSync(process.argv[2], text.includes(refused)
  ? text.replace(/^.*more: .*\\n/m, "")
  : text.replace(/hook: .*/, "hook: " + given + "\\n" + indent + "more: " + refused));
`,
      { mode: 0o755 },
    );
    const run = await traced(repository, sealCommand(repository, "--edit", ...ON_GATEWAY), {
      answers: [["Press Enter to return to the editor", "\r"]],
      env: { EDITOR: join(aside, "editor"), SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect((await opened(repository, GATEWAY))["hook"]).toBe(given.word);
    expect(run.output).toContain("would have other keys");
    expect([old, given, refused].flatMap(({ word }) => run.leaks(word))).toEqual([]);
  });

  it("by sealing again, and in no object of Git", async () => {
    const repository = await sealRepository();
    const { root } = repository;
    const { word, value } = canary();
    await sealFile(repository, GATEWAY, { "api-key": value, hook: value, token: value });
    await git(root, "init", "--quiet");
    await commit(root);
    const objects = await git(root, "count-objects", "-v");
    const run = await traced(repository, sealCommand(repository, "--rotate", "--verbose", "dev", "all"), {
      env: { SOPS_AGE_KEY_FILE: repository.keyFile },
    });
    expect(run.output).toContain("sealed:");
    expect(run.leaks(word)).toEqual([]);
    expect(await git(root, "count-objects", "-v")).toBe(objects);
  });

  const errors: [string, (repository: SealRepository) => Promise<void>, readonly string[], number][] = [
    ["a key is missing", async () => {}, [...ON_GATEWAY, "hook"], 3],
    ["no private key is there", async () => {}, ["--rotate", "--verbose", "dev", "all"], 3],
    [
      "the rules name a recipient that is none",
      async ({ root, identities }) => {
        const rules = await readFile(join(root, ".sops.yaml"), "utf8");
        await writeFile(
          join(root, ".sops.yaml"),
          rules.replace(identities["dev"]?.recipient ?? "", `age1${"q".repeat(58)}`),
        );
      },
      ["--verbose", "dev", "web", "--secret", "pass"],
      3,
    ],
    [
      "the file cannot be written",
      async ({ root }) => {
        // The name of the file fits, and that of the one which is written first does not: no right is in root's way.
        await writeFile(
          join(root, "apps/web.yaml"),
          (await readFile(join(root, "apps/web.yaml"), "utf8")).replace(
            "name: pass",
            `name: ${"p".repeat(245)}`,
          ),
        );
      },
      ["--verbose", "dev", "web", "--secret", "p".repeat(245)],
      1,
    ],
  ];
  it.each(errors)("when %s", async (_, prepare, args, exitCode) => {
    const repository = await sealRepository();
    const [old, given] = [canary(), canary()];
    await sealFile(repository, GATEWAY, { "api-key": old.value, hook: old.value, token: old.value });
    await prepare(repository);
    const run = await traced(repository, sealCommand(repository, ...args), { input: given.value });
    expect(run.exitCode).toBe(exitCode);
    expect([...run.leaks(old.word), ...run.leaks(given.word)]).toEqual([]);
  });
});
