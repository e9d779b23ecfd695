/** Argo CD's repo server as the sandbox runs it. It runs what it is asked to, so it matters who may ask. */
import { mkdir, readFile, symlink } from "node:fs/promises";
import { connect, constants, type SecureClientSessionOptions } from "node:http2";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import {
  ARGOCD_CREDENTIALS,
  ARGOCD_PORTS,
  argocdProcesses,
} from "../../../scripts/lib/sandbox/argocd-processes.ts";
import { clusterPorts, prepareCluster } from "../../../scripts/lib/sandbox/cluster.ts";
import { layoutOf } from "../../../scripts/lib/sandbox/layout.ts";
import { isReady, killGroup, lastLines, startProcess } from "../../../scripts/lib/sandbox/process.ts";
import { ensureState, portOf } from "../../../scripts/lib/sandbox/state.ts";
import { resolveTool } from "../../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../../scripts/lib/wait.ts";
import { temporary } from "../../support/tree.ts";

/** What a call over HTTP/2 is answered with: the status, or why there is none. */
async function call(port: number, options: SecureClientSessionOptions) {
  const session = connect(`https://127.0.0.1:${port}`, options);
  onTestFinished(() => session.destroy());
  return new Promise<string>((resolve) => {
    session.once("error", (error) => resolve(error.message));
    const request = session.request({ [constants.HTTP2_HEADER_PATH]: "/" });
    request.once("error", (error) => resolve(error.message));
    request.once("response", (headers) => resolve(String(headers[constants.HTTP2_HEADER_STATUS])));
  });
}

it("a repo server answers the sandbox's own programs, and nobody without a certificate", async () => {
  const layout = layoutOf(await temporary());
  const { path: argocd, assets } = await resolveTool("argocd");
  const state = await ensureState(layout, [...ARGOCD_PORTS, ...clusterPorts("hub")], ARGOCD_CREDENTIALS);
  const hub = await prepareCluster(layout, state, "hub", 0);
  await mkdir(layout.bin, { recursive: true });
  await symlink(join(assets, "hack/git-verify-wrapper.sh"), join(layout.bin, "git-verify-wrapper.sh"));
  const specs = await argocdProcesses(layout, state, hub, { argocd, assets, miniredis: "" }, "");
  const spec = specs.find(({ name }) => name === "argocd-repo-server");
  if (spec === undefined) throw new Error("there is no repo server");
  const pid = await startProcess(layout, spec);
  onTestFinished(() => killGroup(pid));
  const look = async () => (await isReady(spec.ready)) || undefined;
  await waitFor("it answers", look, { lastWord: async () => lastLines(layout, spec.name) });

  const port = portOf(state, "argocd-repo-server");
  expect(await call(port, { rejectUnauthorized: false })).toMatch(/certificate required/);
  // The options of each program that calls it.
  const callers = specs.filter(({ args }) =>
    args.some((arg) => arg.includes(`repo-server=127.0.0.1:${port}`)),
  );
  expect(callers.map(({ name }) => name)).toHaveLength(4);
  for (const { name, args } of callers) {
    const file = async (option: string) => {
      const path = args.find((arg) => arg.startsWith(`--${option}=`))?.slice(option.length + 3);
      return readFile(path ?? "", "utf8");
    };
    const [ca, cert, key] = await Promise.all(
      ["repo-server-ca-cert-path", "repo-server-client-cert-path", "repo-server-client-cert-key-path"].map(
        file,
      ),
    );
    // It speaks gRPC, which this is not; but it speaks.
    expect(await call(port, { ca: String(ca), cert: String(cert), key: String(key) }), name).toBe("415");
    expect(
      args.filter((arg) => arg.includes("plaintext")),
      name,
    ).toEqual([]);
  }
});
