import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { programLine, repositoryRoot } from "../../../scripts/lib/repository.ts";
import { temporary, write } from "../../support/tree.ts";

const LIBRARY = join(repositoryRoot(), "scripts/lib");

/** A command like those in scripts/, that does what its action says: its file, without the ending. */
async function script(action: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "cli-"));
  onTestFinished(async () => rm(directory, { recursive: true }));
  const name = join(directory, "try");
  await writeFile(
    `${name}.ts`,
    `import { command, main, onInterrupt } from "${LIBRARY}/cli/command.ts";
import { ExternalError, FindingsError, RefusedError, UsageError } from "${LIBRARY}/errors.ts";
import "${LIBRARY}/tools/resolve.ts"; // brings signal listeners of libraries with it, as in real commands
import { writeFileSync } from "node:fs";
const program = command("try", "try it").option("--dry-run", "no").option("--until <date>", "no").option("--no-hold", "no").argument("[word]", "a word").action(async () => {
  ${action}
});
await main(program);
void [onInterrupt, ExternalError, FindingsError, RefusedError, UsageError, writeFileSync];
`,
  );
  return name;
}

describe("how a command ends", () => {
  it.each([
    ["done", "", [], 0, ""],
    [
      "a bug",
      `throw new Error("a\\n b")`,
      [],
      1,
      "try: a b (unexpected: run again with --verbose and report it)\n",
    ],
    ["usage", `throw new UsageError("no such app", "see apps/")`, [], 2, "try: no such app; see apps/\n"],
    ["refused", `throw new RefusedError("not now")`, [], 3, "try: not now\n"],
    ["findings", `throw new FindingsError("2 differ")`, [], 4, "try: 2 differ\n"],
    ["outside", `throw new ExternalError("git failed")`, [], 5, "try: git failed\n"],
    ["an unknown flag", "", ["--dry-rn"], 2, /^try: unknown option '--dry-rn'\n/],
    ["a word too many", "", ["a", "b"], 2, /^try: too many arguments/],
  ])("%s", async (_, action, args, exitCode, stderr) => {
    const ended = await tryRun(...programLine(repositoryRoot(), await script(action), args));
    expect(ended.stderr).toMatch(stderr);
    expect(ended.exitCode).toBe(exitCode);
  });

  it.each([
    ["npm_config_dry_run", "true", "--dry-run"],
    ["npm_config_until", "2026-11-20", "--until"],
    ["npm_config_hold", "", "--no-hold"],
  ])("an option that npm has kept for itself is not lost silently: %s", async (name, value, option) => {
    const line = programLine(repositoryRoot(), await script(""), []);
    const ended = await tryRun(...line, { env: { ...process.env, [name]: value } });
    expect(ended.stderr).toBe(
      `try: npm has kept ${option} for itself; put options behind --: npm run try -- ${option} …\n`,
    );
    expect(ended.exitCode).toBe(2);
  });

  it("a setting of npm's own is none that is lost", async () => {
    const root = await temporary();
    await write(root, { ".npmrc": "; mine\ndry-run = true\nuntil=x\n" });
    const own = { npm_config_local_prefix: root, npm_config_dry_run: "true", npm_config_until: "x" };
    const end = async (args: readonly string[], env: NodeJS.ProcessEnv) => {
      const line = programLine(repositoryRoot(), await script(""), args);
      return (await tryRun(...line, { env: { ...process.env, ...env } })).exitCode;
    };
    expect(await end([], own)).toBe(0);
    // Given behind --, too; or switched off.
    expect(await end(["--dry-run"], { npm_config_dry_run: "true" })).toBe(0);
    expect(await end([], { npm_config_dry_run: "" })).toBe(0);
    expect(await end([], { ...own, npm_config_hold: "" })).toBe(2);
  });

  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s: undone once, then 130", async (signal) => {
    const file = await script(`
  const log = process.argv[1] + ".log";
  onInterrupt(async () => { writeFileSync(log, "undone\\n", { flag: "a" }); await new Promise((r) => setTimeout(r, 300)); writeFileSync(log, "whole\\n", { flag: "a" }); });
  process.stdout.write("ready\\n");
  await new Promise(() => setInterval(() => {}, 60_000));`);
    const child = spawn(...programLine(repositoryRoot(), file, []), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    child.kill(signal);
    child.kill(signal);
    const [code] = await once(child, "exit");
    expect(code).toBe(130);
    expect(await readFile(`${file}.ts.log`, "utf8")).toBe("undone\nwhole\n");
  });
});
