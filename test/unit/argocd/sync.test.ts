/** What a sync asks of Argo CD's client. That the client does it is what test/sandbox shows. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { syncApplication } from "../../../scripts/lib/argocd/argocd.ts";
import { temporary } from "../../support/tree.ts";

/** A client that notes its calls and answers as it is told. */
async function client(answer: string) {
  const directory = await temporary();
  const program = join(directory, "argocd");
  const calls = join(directory, "calls");
  await writeFile(program, `#!/bin/sh\necho "$*" >> "${calls}"\n${answer}\n`, { mode: 0o755 });
  return {
    argocd: { program, env: process.env },
    calls: async () => (await readFile(calls, "utf8")).trim().split("\n"),
  };
}

const fatal = (text: string) => `echo '{"level":"fatal","msg":"${text}"}' >&2; exit 20`;

describe("a sync", () => {
  it("prunes what has left Git, and waits until it is Synced and Healthy", async () => {
    const { argocd, calls } = await client("");
    await syncApplication(argocd, "prod-user-service", 60);
    expect(await calls()).toEqual([
      "app sync prod-user-service --prune --timeout 60",
      "app wait prod-user-service --operation --sync --health --timeout 60",
    ]);
  });

  it("waits for one that runs already", async () => {
    const running = fatal(
      "rpc error: code = FailedPrecondition desc = another operation is already in progress",
    );
    const { argocd, calls } = await client(`case "$2" in sync) ${running};; esac`);
    await syncApplication(argocd, "dev-redis", 60);
    expect(await calls()).toHaveLength(2);
  });

  it.each([
    [
      "sync",
      "Operation has completed with phase: Failed",
      "prod-redis does not sync: Operation has completed with phase: Failed",
      undefined,
    ],
    [
      "wait",
      'timed out (60s) waiting for app \\"prod-redis\\" match desired state',
      'prod-redis is not Healthy: timed out (60s) waiting for app "prod-redis" match desired state',
      "Argo CD goes on: look at `npm run status`, or wait longer with --timeout",
    ],
  ])("says why %s failed", async (verb, text, message, hint) => {
    const { argocd } = await client(`case "$2" in ${verb}) ${fatal(text)};; esac`);
    await expect(syncApplication(argocd, "prod-redis", 60)).rejects.toMatchObject({
      message,
      hint,
      exitCode: 5,
    });
  });
});
