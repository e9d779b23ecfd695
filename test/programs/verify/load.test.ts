import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { ofKind, podTemplates } from "../../../scripts/lib/manifests/manifest.ts";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { toolPath } from "../../../scripts/lib/tools/path.ts";
import { build } from "../../../scripts/lib/tree/kustomize.ts";
import { judgeLoad, loadManifests, parseResult } from "../../../scripts/lib/verify/load.ts";

const ROOT = repositoryRoot();

/** Runs load/load.mjs, as the Job does, against a shop. */
async function loadOn(shop: RequestListener) {
  const server = createServer(shop).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const address = z.object({ port: z.number() }).parse(server.address());
  return tryRun(process.execPath, [join(ROOT, "load/load.mjs")], {
    env: { LOAD_URL: `http://127.0.0.1:${address.port}` },
  });
}

/** A shop that counts what it is asked, and how much of it at once. */
function countingShop(answer: (path: string, nth: number) => number) {
  const counts: Record<string, number> = {};
  const most: Record<string, number> = {};
  const open: Record<string, number> = {};
  const tokens = new Set<string | undefined>();
  const shop: RequestListener = (request, response) => {
    const path = request.url ?? "";
    counts[path] = (counts[path] ?? 0) + 1;
    open[path] = (open[path] ?? 0) + 1;
    most[path] = Math.max(most[path] ?? 0, open[path]);
    if (path === "/api/v1/orders") tokens.add(request.headers.authorization);
    const status = answer(path, counts[path]);
    request.resume().on("end", () => {
      // All that come at once are open before the first is answered.
      setImmediate(() => {
        open[path] = (open[path] ?? 0) - 1;
        response.writeHead(status).end('{"token":"signed"}');
      });
    });
  };
  return { shop, counts, most, tokens };
}

it("signs in 100 times and places 500 orders with the token, never more at once than it says", async () => {
  const { shop, counts, most, tokens } = countingShop(() => 200);
  const { exitCode, stdout } = await loadOn(shop);
  expect(exitCode).toBe(0);
  expect(counts).toEqual({
    "/api/v1/users/sign-up": 1,
    "/api/v1/users/sign-in": 100,
    "/api/v1/orders": 500,
  });
  expect(most["/api/v1/users/sign-in"]).toBeLessThanOrEqual(20);
  expect(most["/api/v1/orders"]).toBeLessThanOrEqual(50);
  expect([...tokens]).toEqual(["Bearer signed"]);
  expect(parseResult(stdout)).toEqual({
    signIns: { total: 100, failed: {}, p99Ms: expect.any(Number) },
    orders: { total: 500, failed: {}, p99Ms: expect.any(Number) },
  });
});

it("counts what failed, by its answer", async () => {
  const { shop } = countingShop((path, nth) => (path === "/api/v1/orders" && nth <= 6 ? 503 : 200));
  expect(parseResult((await loadOn(shop)).stdout)).toMatchObject({
    signIns: { failed: {} },
    orders: { failed: { 503: 6 } },
  });
});

const FAST = { total: 500, failed: {}, p99Ms: 1000 };

it("that went well says how far the autoscalers went with it", () => {
  expect(judgeLoad({ signIns: FAST, orders: FAST }, new Map([["order-service", [3, 5]]]))).toEqual({
    name: "load",
    verdict: "ok",
    seen: "500 sign-ins (p99 1000 ms), 500 orders (p99 1000 ms), order-service 3 to 5",
    findings: [],
  });
});

it.each([
  ["one failure in a hundred", { ...FAST, failed: { 503: 5 } }, []],
  [
    "more failures than one in a hundred",
    { ...FAST, failed: { 503: 5, 429: 1 } },
    ["load: 6 of 500 orders failed: 1 times 429, 5 times 503; look at the services' logs"],
  ],
  [
    "slow answers",
    { ...FAST, p99Ms: 1001 },
    ["load: one of a hundred orders took longer than 1001 ms; docs/runbooks/alerts.md"],
  ],
])("with %s", (_, orders, findings) => {
  expect(judgeLoad({ signIns: FAST, orders }, new Map())).toMatchObject({
    verdict: findings.length === 0 ? "ok" : "failed",
    findings,
  });
});

it("that cannot sign up says so and sends nothing else", async () => {
  const { shop, counts } = countingShop(() => 404);
  const { exitCode, stdout } = await loadOn(shop);
  expect(exitCode).toBe(1);
  expect(counts).toEqual({ "/api/v1/users/sign-up": 1 });
  expect(judgeLoad(parseResult(stdout), new Map()).findings).toEqual([
    "load: sign-up is answered with 404; load/load.mjs",
  ]);
});

it.each(["", "no JSON", "{}"])("output %j is not taken for a result", (line) => {
  expect(() => parseResult(line)).toThrow("the load has said nothing that can be read");
});

it("is a Job of restricted Pod Security that reaches the gateway under the environment's host", async () => {
  const rendered = await build(await toolPath("kustomize"), join(ROOT, "load"));
  const place = { host: "api.staging.example.com", address: "10.1.2.3", certificate: "PEM" };
  const manifests = loadManifests(rendered, place);
  expect(manifests.filter(({ metadata }) => (metadata.namespace ?? "load") !== "load")).toEqual([]);
  const [template] = podTemplates(manifests);
  expect(template?.spec).toMatchObject({
    automountServiceAccountToken: false,
    hostAliases: [{ ip: "10.1.2.3", hostnames: ["api.staging.example.com"] }],
    containers: [
      {
        env: expect.arrayContaining([{ name: "LOAD_URL", value: "https://api.staging.example.com" }]),
        securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false },
      },
    ],
  });
  const certificate = ofKind(manifests, "ConfigMap").find(({ metadata }) => metadata.name === "certificate");
  expect(certificate?.data).toEqual({ "tls.crt": "PEM" });
});
