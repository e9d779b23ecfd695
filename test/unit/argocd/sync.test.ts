/** What a sync asks of Argo CD's client, and what it makes of the answers. That the client does it is what test/sandbox shows. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { listApplications, parseApplications } from "../../../scripts/lib/argocd/applications.ts";
import { outcomeOf, syncApplications } from "../../../scripts/lib/argocd/sync.ts";
import { temporary } from "../../support/tree.ts";

const NAME = "prod-user-service";
const IN_PROGRESS = "rpc error: code = FailedPrecondition desc = another operation is already in progress";
const BROKEN =
  "ComparisonError: Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = Unknown desc = `kustomize build` failed exit status 1: Error: no such file pdb-missing.yaml";
const RETRY = ". Retrying attempt #1 at 2026-11-30T12:00:05Z.";

/** An application as Argo CD's client prints it. */
function application(status: object = {}, operation?: object): object {
  const ended = { phase: "Succeeded", message: "successfully synced", finishedAt: "2026-11-30T12:00:00Z" };
  const healthy = { sync: { status: "Synced" }, health: { status: "Healthy" } };
  return {
    metadata: { name: NAME, labels: { app: "user-service", environment: "prod" } },
    ...(operation === undefined ? {} : { operation }),
    status: { ...healthy, operationState: ended, reconciledAt: "2026-11-30T12:00:01Z", ...status },
  };
}

const running = (message: string, finishedAt?: string) =>
  application({ operationState: { phase: "Running", message, finishedAt } }, { sync: {} });

/** A client that notes its calls; it answers as a shell's `case` tells it to, and else with an application that is well. */
async function client(cases = "") {
  const directory = await temporary();
  const program = join(directory, "argocd");
  const calls = join(directory, "calls");
  const answers = {
    well: application(),
    other: running(`${BROKEN}${RETRY}`),
    broken: running(`${BROKEN}${RETRY}`),
    busy: running("waiting for completion of hook"),
    degraded: application({
      health: { status: "Degraded" },
      resources: [
        { kind: "Deployment", name: "user-service", health: { status: "Degraded", message: "exceeded" } },
      ],
    }),
  };
  for (const [name, answer] of Object.entries(answers))
    await writeFile(join(directory, name), JSON.stringify(answer));
  const script = `#!/bin/sh
cd "${directory}"; echo "$*" >> calls
no() { echo '{"level":"fatal","msg":"'"$1"'"}' >&2; exit 20; }
case "$2" in ${cases} esac
case "$2" in list) echo "[$(cat well)]";; get) cat well;; esac
`;
  await writeFile(program, script, { mode: 0o755 });
  const argocd = { program, env: process.env };
  const told: string[] = [];
  const sync = async (timeoutSeconds = 60) =>
    syncApplications(argocd, [NAME], async () => listApplications(argocd, "prod"), {
      timeoutSeconds,
      everyMs: 50,
      silenceMs: 200,
      tell: (line) => told.push(line),
    });
  return { sync, told, calls: async () => (await readFile(calls, "utf8")).trim().split("\n") };
}

describe("a sync", () => {
  it("prunes what has left Git, and does not believe the list alone that it is done", async () => {
    const { sync, calls } = await client();
    await sync();
    expect(await calls()).toEqual([
      `app sync ${NAME} --prune --async`,
      "app list --output json --selector app,environment=prod",
      `app get ${NAME} --output json`,
    ]);
  });

  it("waits for one that runs already, and comes after it", async () => {
    const { sync, calls } = await client(
      `sync) [ -e second ] || { touch second; no "${IN_PROGRESS}"; };; get) [ -e third ] || { touch third; cat busy; exit; };;`,
    );
    await sync();
    expect((await calls()).filter((call) => !call.includes(" list "))).toEqual([
      `app sync ${NAME} --prune --async`,
      `app get ${NAME} --output json`,
      `app sync ${NAME} --prune --async`,
      `app get ${NAME} --output json`,
    ]);
  });

  it("ends one that runs already and fails for good: it may be about an older commit", async () => {
    const { sync, calls } = await client(
      `sync) [ -e second ] || { touch second; no "${IN_PROGRESS}"; };; get) [ -e ended ] || { cat other; exit; };; terminate-op) touch ended;;`,
    );
    await sync();
    expect(await calls()).toContain(`app terminate-op ${NAME}`);
  });

  it("goes on when Argo CD is started again meanwhile, and ends when it does not come back", async () => {
    const refused = 'no "dial tcp 127.0.0.1:1: connect: connection refused"';
    const back = await client(`list) [ -e back ] || { touch back; ${refused}; };;`);
    await back.sync();
    const gone = await client(`list) ${refused};;`);
    await expect(gone.sync(900)).rejects.toThrow("connection refused");
  });

  it("says while it waits what Argo CD says, and how long still, and says it at the end, too", async () => {
    const { sync, told } = await client(`list) echo "[$(cat busy)]"; exit;;`);
    await expect(sync(4)).rejects.toMatchObject({
      message: expect.stringMatching(
        /^waited \d+ s until prod-user-service is Synced and Healthy: prod-user-service: waiting for completion of hook$/,
      ),
      hint: "Argo CD goes on: look at `npm run status`, or wait longer with --timeout",
      exitCode: 5,
    });
    expect(told[0]).toMatch(
      /^waiting until prod-user-service is .*: waiting for completion of hook \(\d+ s, \d+ s more at most\)$/,
    );
  });

  it.each([
    [
      "it is refused",
      'sync) no "permission denied: applications, sync"; exit;;',
      "it does not sync: permission denied: applications, sync",
    ],
    [
      "what Git has cannot be rendered",
      'list) echo "[$(cat broken)]"; exit;; get) cat broken; exit;;',
      `it does not sync: ${BROKEN}`,
    ],
    [
      "it stays Degraded",
      'list) echo "[$(cat degraded)]"; exit;; get) cat degraded; exit;;',
      "it is Degraded: Deployment user-service is Degraded: exceeded",
    ],
  ])("ends, with the reason, long before its time is over, when %s", async (_, cases, reason) => {
    const { sync } = await client(cases);
    await expect(sync(900)).rejects.toMatchObject({ message: `${NAME}: ${reason}`, exitCode: 5 });
  });
});

describe("what becomes of a sync", () => {
  function outcome(answer: object) {
    return parseApplications(JSON.stringify([answer])).map(outcomeOf)[0];
  }
  const attempt = (message: string) => running(`${message}${RETRY}`, "2026-11-30T12:00:00Z");
  const failed = "one or more objects failed to apply, reason: ";

  it.each([
    ["a file that is missing", BROKEN],
    [
      "a field that cannot change",
      `${failed}Deployment.apps "a" is invalid: spec.selector: field is immutable`,
    ],
    [
      "a field that no kind has",
      `${failed}failed to create typed patch object: strict decoding error: unknown field "spec.replica"`,
    ],
    ["a policy's no", `${failed}admission webhook "x" denied the request: no`],
    [
      "a policy's no, of the API server itself",
      `${failed}ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no`,
    ],
    ["a kind that the project does not allow", "resource :Namespace is not permitted in project dev"],
    [
      "a destination that the project does not allow",
      "InvalidSpecError: application destination server 'x' and namespace 'y' do not match",
    ],
  ])("ends with %s, whatever attempts are still to come", (_, reason) => {
    expect(outcome(attempt(reason))).toEqual({
      kind: "failed",
      reason: `it does not sync: ${reason}`,
      hint: "no retry fixes that: push a commit that does",
    });
  });

  it.each([
    ["a namespace that comes with another application", `${failed}namespaces "data" not found`],
    [
      "a kind that comes with another application",
      `${failed}no matches for kind "SopsSecret" in version "isindir.github.com/v1alpha3"`,
    ],
    ["room in a quota", `${failed}pods "a" is forbidden: exceeded quota: microservices`],
    [
      "a repo server that starts",
      "ComparisonError: Failed to load target state: rpc error: code = Unavailable desc = connection error: dial tcp 127.0.0.1:1: connect: connection refused",
    ],
    [
      "a cluster that does not answer",
      "ComparisonError: Failed to load live state: failed to get cluster info",
    ],
    ["a webhook that starts", `${failed}failed calling webhook "x": no endpoints available`],
  ])("is awaited while an attempt may still find %s", (_, reason) => {
    const answer = attempt(reason);
    expect(outcome(answer)).toEqual({ kind: "pending", word: `${reason}${RETRY}` });
  });

  it.each<[string, object, object]>([
    ["is done when it is Synced and Healthy", application(), { kind: "done" }],
    [
      "is awaited until Argo CD has compared again",
      application({ reconciledAt: "2026-11-30T11:59:59Z" }),
      { kind: "pending", word: "successfully synced" },
    ],
    [
      "is awaited when it was only just asked for",
      application({}, { sync: {} }),
      { kind: "pending", word: "successfully synced" },
    ],
    [
      "names what it waits for",
      application({
        health: { status: "Progressing" },
        resources: [
          { kind: "Service", name: "a" },
          { kind: "Deployment", name: "b", health: { status: "Progressing", message: "1 of 3 updated" } },
        ],
      }),
      { kind: "pending", word: "Synced Progressing, Deployment b is Progressing: 1 of 3 updated" },
    ],
    [
      "ends when Argo CD has given up",
      application({
        operationState: { phase: "Failed", message: "hook failed", finishedAt: "2026-11-30T12:00:00Z" },
      }),
      { kind: "failed", reason: "it does not sync: hook failed" },
    ],
    [
      "ends when what Git has now cannot be compared",
      application({
        sync: { status: "Unknown" },
        conditions: [{ type: "ComparisonError", message: "no such path" }],
      }),
      {
        kind: "failed",
        reason: "it does not sync: ComparisonError: no such path",
        hint: "no retry fixes that: push a commit that does",
      },
    ],
  ])("%s", (_, answer, expected) => {
    expect(outcome(answer)).toEqual(expected);
  });
});
