/** The workflows, as actionlint and this repository's own rules see them; their scripts are run, with a recorder for node. */
import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { tryRun } from "../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { jobsFor } from "../../scripts/lib/tree/jobs.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { temporary } from "../support/tree.ts";

const ROOT = repositoryRoot();
const FILES = (await glob(".github/workflows/*", { cwd: ROOT })).sort();

const Rights = z.record(z.string(), z.enum(["read", "write", "none"]));
const Step = z.object({
  id: z.string().optional(),
  name: z.string().optional(),
  uses: z.string().optional(),
  run: z.string().optional(),
  "working-directory": z.string().optional(),
  with: z.record(z.string(), z.unknown()).optional(),
  env: z.record(z.string(), z.string()).optional(),
});
const Workflow = z.object({
  on: z.record(z.string(), z.unknown()),
  permissions: Rights,
  concurrency: z.object({ group: z.string() }),
  env: z.record(z.string(), z.string()).optional(),
  jobs: z.record(
    z.string(),
    z.object({
      if: z.string().optional(),
      needs: z.union([z.string(), z.array(z.string())]).optional(),
      outputs: z.record(z.string(), z.string()).optional(),
      permissions: Rights,
      "timeout-minutes": z.number().max(60),
      environment: z.string().optional(),
      steps: z.array(Step),
    }),
  ),
});

const texts = await Promise.all(FILES.map(async (file) => readFile(join(ROOT, file), "utf8")));
const workflows = texts.map((text, index) => {
  const file = FILES[index] ?? "";
  const workflow = Workflow.parse(parse(text));
  const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);
  return { file, text, workflow, steps };
});

/** Runs actionlint over a text. Without shellcheck and pyflakes, so that it says the same wherever it runs. */
async function lint(text: string, ...args: string[]): Promise<string> {
  const { path } = await resolveTool("actionlint");
  const options = ["-no-color", "-oneline", "-shellcheck=", "-pyflakes=", ...args, "-"];
  return (await tryRun(path, options, { input: text, cwd: ROOT })).stdout;
}

it("there are three workflows", () => {
  expect(FILES.map((file) => file.split("/").at(-1))).toEqual(["bump.yaml", "checks.yaml", "promote.yaml"]);
});

describe.each(workflows)("$file", ({ text, workflow, steps }) => {
  it("is what actionlint accepts", async () => {
    expect(await lint(text)).toBe("");
    // By its version an action's inputs are known to actionlint; by its commit they are not.
    const named = text.replaceAll(/@[0-9a-f]{40} # (v\d+)\.\S+/g, "@$1");
    // The release of this action that actionlint knows had only the older name for it.
    const ignored = [
      'input "client-id" is not defined in action "actions/create-github-app-token',
      'missing input "app-id" which is required by action "actions/create-github-app-token',
    ];
    expect(named).not.toBe(text);
    expect(await lint(named, ...ignored.flatMap((message) => ["-ignore", message]))).toBe("");
  });

  it("pins every action by commit, with its version beside it", () => {
    const uses = text.split("\n").filter((line) => /^\s*(?:- )?uses:/.test(line));
    expect(uses.length).toBe(steps.filter((step) => step.uses !== undefined).length);
    const loose = uses.filter((line) => !/uses: [\w-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line));
    expect(loose).toEqual([]);
  });

  it("has no rights by default, and each job names the least: to read the repository", () => {
    expect(workflow.permissions).toEqual({});
    for (const { permissions, steps: own } of Object.values(workflow.jobs))
      expect(permissions).toEqual(own.some(({ uses }) => uses !== undefined) ? { contents: "read" } : {});
  });

  it("leaves no credential in a checkout", () => {
    const checkouts = steps.filter((step) => step.uses?.startsWith("actions/checkout@"));
    expect(checkouts.length).toBeGreaterThan(0);
    for (const step of checkouts) expect(step.with?.["persist-credentials"]).toBe(false);
  });

  it("puts nothing into the text of a script", () => {
    expect(steps.flatMap(({ run }) => (run?.includes("${{") ? [run] : []))).toEqual([]);
  });

  it("is not started with rights by a stranger's pull request, and gives what such a one brings no secret", () => {
    for (const event of ["pull_request_target", "workflow_run", "issue_comment"]) {
      expect(Object.keys(workflow.on)).not.toContain(event);
    }
    const isOpen = "pull_request" in workflow.on;
    expect(/secrets\.|create-github-app-token|GITHUB_TOKEN|github\.token/.test(text)).toBe(!isOpen);
    const environments = Object.values(workflow.jobs).map((job) => job.environment);
    expect(new Set(environments)).toEqual(new Set([isOpen ? undefined : "releases"]));
  });
});

/** What the Apps' tokens may do, no more and no less; the last one is the releases App's. */
const APP_RIGHTS: Record<string, Record<string, Record<string, unknown>>> = {
  "bump.yaml": { app: { contents: "write", "pull-requests": "write" } },
  "promote.yaml": {
    sources: { contents: "read" },
    app: {
      contents: "write",
      issues: "write",
      members: "read",
      "pull-requests": "write",
      statuses: "read",
    },
  },
};

describe.each(workflows.filter(({ file }) => !file.endsWith("checks.yaml")))(
  "$file",
  ({ file, text, steps }) => {
    it("makes the Apps' tokens last, for named rights, and gives them to one step", () => {
      const wanted = APP_RIGHTS[file.split("/").at(-1) ?? ""] ?? {};
      const makers = steps.filter(({ uses }) => uses?.startsWith("actions/create-github-app-token@"));
      expect(steps.slice(0, -1).slice(-makers.length)).toEqual(makers);
      const rights = makers.map(({ id = "", with: inputs = {} }) => {
        const named = Object.entries(inputs).filter(([name]) => name.startsWith("permission-"));
        return [
          id,
          Object.fromEntries(named.map(([name, value]) => [name.slice("permission-".length), value])),
        ];
      });
      expect(Object.fromEntries(rights)).toEqual(wanted);
      for (const id of Object.keys(wanted))
        expect(text.match(new RegExp(`steps\\.${id}\\.outputs\\.token`, "g"))).toHaveLength(1);
    });
  },
);

describe("checks", () => {
  const { workflow } = workflows.find(({ file }) => file.endsWith("checks.yaml")) ?? {};
  const jobs = workflow?.jobs ?? {};
  const routed = jobsFor(["scripts/unknown.ts"]);
  const always = jobsFor([]);

  it("runs for main only, again when a pull request gets another base, and in its queue", async () => {
    const branches = [(await readSettings(ROOT)).revision];
    expect(workflow?.on).toEqual({
      pull_request: { branches, types: ["opened", "synchronize", "reopened", "edited"] },
      merge_group: null,
      push: { branches },
    });
    expect(workflow?.env?.["BASE"]).toBe(
      `\${{ github.event_name == 'push' && github.event.before || github.event.merge_group.base_sha || 'refs/remotes/origin/${branches[0]}' }}`,
    );
  });

  it.each(["route", "check"])(
    "%s reads the change, runs main's code, and takes nothing from a cache",
    (name) => {
      const steps = jobs[name]?.steps ?? [];
      const [change, deployed, node, install, ...commands] = steps;
      expect(change?.with).toEqual({ path: "change", "fetch-depth": 0, "persist-credentials": false });
      expect(deployed?.with).toEqual({
        path: "deployed",
        ref: "refs/heads/main",
        "persist-credentials": false,
      });
      expect(node?.with).toEqual({ "node-version": 24, "package-manager-cache": false });
      expect(install?.run).toBe("npm ci --ignore-scripts");
      const own = commands.filter(({ uses }) => uses === undefined);
      expect(own).not.toEqual([]);
      for (const step of [install, ...own]) expect(step?.["working-directory"]).toBe("deployed");
      for (const step of own) expect(step.run).toContain('--root "$GITHUB_WORKSPACE/change" --base "$BASE"');
      // An action runs nothing of the change, and keeps none of its files.
      const actions = commands.filter(({ uses }) => uses !== undefined);
      expect(actions.map(({ uses }) => uses?.split("@")[0])).toEqual(
        name === "check" ? ["actions/upload-artifact"] : [],
      );
      for (const step of actions)
        expect(String(step.with?.["path"]).trim().split("\n")).toEqual([
          "${{ runner.temp }}/diff.html",
          "${{ runner.temp }}/diff.patch",
        ]);
    },
  );

  it("has each job that a change may ask for, and no other", () => {
    expect(Object.keys(jobs)).toEqual(["route", ...routed, "checks"]);
    for (const name of routed) {
      const { needs, if: condition } = jobs[name] ?? {};
      const isAlways = always.includes(name);
      expect(needs).toBe(isAlways ? undefined : "route");
      expect(condition).toBe(
        isAlways ? undefined : `contains(fromJSON(needs.route.outputs.jobs), '${name}')`,
      );
    }
  });

  it("ends with one check, which is never skipped and waits for all", () => {
    const { checks, ...others } = jobs;
    expect(checks).toMatchObject({ if: "always()", needs: Object.keys(others) });
  });

  it.each<[string, Record<string, string>, string[] | undefined, string[]]>([
    ["all have succeeded", {}, routed, []],
    ["what was not asked for is skipped", { code: "skipped", systems: "skipped" }, ["check", "tree"], []],
    ["what was asked for is skipped", { code: "skipped" }, routed, ["code: skipped"]],
    ["what every change asks for is skipped", { tree: "skipped" }, always, ["tree: skipped"]],
    ["one has failed", { tree: "failure" }, always, ["tree: failure"]],
    ["one has failed without being asked for", { code: "failure" }, always, ["code: failure"]],
    ["one was cancelled", { systems: "cancelled" }, routed, ["systems: cancelled"]],
    [
      "nobody knows what is asked for",
      { route: "failure", code: "skipped", systems: "skipped" },
      undefined,
      ["route: failure", "code: skipped", "systems: skipped"],
    ],
  ])("when %s", async (_, results, asked, bad) => {
    const outputs = asked === undefined ? {} : { jobs: JSON.stringify(asked) };
    const needs = ["route", ...routed].map((job) => [
      job,
      { result: results[job] ?? "success", outputs: job === "route" ? outputs : {} },
    ]);
    const [step] = jobs["checks"]?.steps ?? [];
    const { exitCode, stdout } = await tryRun("bash", ["-eo", "pipefail", "-c", step?.run ?? ""], {
      env: { PATH: process.env["PATH"], NEEDS: JSON.stringify(Object.fromEntries(needs)) },
    });
    expect({ exitCode, bad: stdout.split("\n").slice(0, -1) }).toEqual({
      exitCode: bad.length === 0 ? 0 : 1,
      bad,
    });
  });
});

describe("actionlint", () => {
  it("sees an error when there is one", async () => {
    const [{ text } = { text: "" }] = workflows;
    expect(await lint(text.replace("runs-on:", "run-on:"))).toMatch(/"run-on"/);
    const named = text.replaceAll(/@[0-9a-f]{40} # (v\d+)\.\S+/g, "@$1");
    expect(await lint(named.replace("persist-credentials", "persist-credential"))).toMatch(
      /persist-credential"/,
    );
  });
});

/** Runs the step of a workflow that has this name. */
async function runStep(file: string, name: string, env: Record<string, string>, exitCode = 0) {
  const found = workflows.find((workflow) => workflow.file.endsWith(file));
  const step = found?.steps.find((candidate) => candidate.name === name);
  expect(Object.keys(step?.env ?? {}).sort()).toEqual(
    Object.keys(env)
      .filter((key) => !key.startsWith("GITHUB_"))
      .sort(),
  );
  const bin = await temporary();
  await writeFile(join(bin, "node"), `#!/bin/sh\nprintf '%s\\n' "$@"\nexit ${exitCode}\n`);
  await chmod(join(bin, "node"), 0o755);
  // As GitHub runs `shell: bash`.
  const result = await tryRun("bash", ["--noprofile", "--norc", "-eo", "pipefail", "-c", step?.run ?? ""], {
    cwd: bin,
    env: { PATH: `${bin}:${process.env["PATH"]}`, ...env },
  });
  return { ...result, lines: result.stdout.trimEnd().split("\n") };
}

describe("the call of a bump", () => {
  const env = { FORGE_TOKEN: "t", APP: "web", SHA: "0".repeat(40), DIGEST: "" };
  it.each([
    ["without a digest", env, ["--", "web", env.SHA]],
    ["with one", { ...env, DIGEST: "sha256:1" }, ["--digest=sha256:1", "--", "web", env.SHA]],
    ["that tries to be an option", { ...env, APP: "--direct" }, ["--", "--direct", env.SHA]],
    ["that tries to be a program", { ...env, APP: "$(id) `id`; id" }, ["--", "$(id) `id`; id", env.SHA]],
  ])("%s", async (_, given, args) => {
    const { exitCode, lines } = await runStep("bump.yaml", "Bump", given);
    expect({ exitCode, lines }).toEqual({ exitCode: 0, lines: ["scripts/run.js", "bump", ...args] });
  });
});

describe("the call of a promotion", () => {
  const env = { FORGE_TOKEN: "t", SOURCES_TOKEN: "", FROM: "dev", TO: "staging", APPS: "", REASON: "" };
  it.each([
    ["of everything", env, ["--", "dev", "staging"]],
    ["of some apps", { ...env, APPS: " a  b " }, ["--", "dev", "staging", "a", "b"]],
    [
      "with a reason",
      { ...env, REASON: "it's *urgent*" },
      ["--override=it's *urgent*", "--", "dev", "staging"],
    ],
    ["that tries to be a program", { ...env, APPS: "$(id) *" }, ["--", "dev", "staging", "$(id)", "*"]],
  ])("%s", async (_, given, args) => {
    const { exitCode, lines } = await runStep("promote.yaml", "Promote", {
      ...given,
      GITHUB_EVENT_NAME: "x",
    });
    expect({ exitCode, lines }).toEqual({
      exitCode: 0,
      lines: ["scripts/run.js", "promote", ...args],
    });
  });

  it.each([
    ["schedule", ["--if-ready", "--", "dev", "staging"]],
    ["workflow_dispatch", ["--", "dev", "staging"]],
  ])("started by %s may be told to wait, or not, and ends as the command does", async (event, args) => {
    const result = await runStep("promote.yaml", "Promote", { ...env, GITHUB_EVENT_NAME: event }, 3);
    expect(result).toMatchObject({ exitCode: 3, lines: ["scripts/run.js", "promote", ...args] });
  });
});

describe("the login to the registry", () => {
  it("takes the host from the settings, and the password on standard input", async () => {
    const step = workflows
      .flatMap(({ steps }) => steps)
      .find(({ name }) => name === "Log in to the registry");
    const bin = await temporary();
    await writeFile(join(bin, "docker"), `#!/bin/sh\nprintf '%s\\n' "$@"\ncat\n`);
    await chmod(join(bin, "docker"), 0o755);
    const { stdout } = await tryRun("bash", ["-eo", "pipefail", "-c", step?.run ?? ""], {
      cwd: ROOT,
      env: { PATH: `${bin}:${process.env["PATH"]}`, REGISTRY_USER: "me", REGISTRY_PASSWORD: "secret" },
    });
    const host = (await readSettings(ROOT)).registry.split("/")[0];
    expect(stdout).toBe(`login\n${host}\n--username\nme\n--password-stdin\nsecret`);
  });
});
