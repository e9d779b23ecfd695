import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import type { Finding } from "../../../scripts/lib/finding.ts";
import { renderCheckout } from "../../../scripts/lib/render/checkout.ts";
import { referenceFindings } from "../../../scripts/lib/secrets/audit/references.ts";
import { bundledLine } from "../../support/commands.ts";
import { commit, git, write } from "../../support/tree.ts";
import { read, type SealedRepository, sealedRepository } from "./audit-support.ts";

const POD = "base/web/pod.yaml";
const OVERLAY = "overlays/dev/web";

let repository: SealedRepository;
let root: string;
let pod: string;
beforeAll(async () => {
  repository = await sealedRepository();
  ({ root } = repository);
  pod = await read(root, POD);
});
beforeEach(async () => write(root, { [POD]: pod }));
afterAll(async () => repository.remove());

async function references(overlay: string): Promise<Finding[]> {
  const { renderings, findings } = await renderCheckout(root, [overlay]);
  return [...findings, ...(await referenceFindings(root, renderings))];
}

/** A pod that has a variable from a key of a Secret. */
function withReference(name: string, key: string, options = "", namespace = "shop"): string {
  const variable = `{name: A, valueFrom: {secretKeyRef: {name: ${name}, key: ${key}${options}}}}`;
  return `${pod.replace("name: web", `name: web\n  namespace: ${namespace}`)}      env: [${variable}]\n`;
}

describe("a reference", () => {
  it.each([
    ["to a key that is sealed is well", () => withReference("api", "token"), undefined],
    ["to what another app seals there is well", () => withReference("disk-database", "password"), undefined],
    ["that is optional is well", () => withReference("apx", "token", ", optional: true"), undefined],
    [
      "to another key is found",
      () => withReference("api", "tokem"),
      "Pod shop/web needs the key tokem of the Secret shop/api: no sealed file in dev has it",
    ],
    [
      "to another Secret is found",
      () => withReference("apx", "token"),
      "Pod shop/web needs the key token of the Secret shop/apx: no sealed file in dev has it",
    ],
    [
      "from another namespace is found",
      () => withReference("api", "token", "", "market"),
      "Pod market/web needs the key token of the Secret market/api: no sealed file in dev has it",
    ],
  ])("%s", async (_, text, what) => {
    await write(root, { [POD]: text() });
    const found = await references(OVERLAY);
    expect(found.map((finding) => finding.what)).toEqual(what === undefined ? [] : [what]);
  });

  it("is named with the overlay and the way out", async () => {
    await write(root, { [POD]: withReference("api", "tokem") });
    expect(await references(OVERLAY)).toMatchObject([
      {
        path: "overlays/dev/web/kustomization.yaml",
        line: 1,
        way: "correct the reference, or describe it in apps/web.yaml and seal it: npm run seal -- dev web --secret api",
        severity: "finding",
      },
    ]);
  });

  it("cannot be looked at in an overlay that does not render", async () => {
    expect(await references("overlays/test/web")).toMatchObject([
      {
        what: expect.stringMatching(/^does not render: .*release\.yaml/),
        severity: "finding",
      },
    ]);
  });

  it("is not looked at where nothing is sealed", async () => {
    await write(root, { [POD]: withReference("api", "tokem") });
    const { renderings } = await renderCheckout(root, [OVERLAY]);
    const elsewhere = renderings.map((rendering) => ({ ...rendering, overlay: "overlays/other/web" }));
    expect(await referenceFindings(root, elsewhere)).toEqual([]);
  });

  it("is looked at by check, and not by secrets, which renders nothing", async () => {
    await commit(root);
    await git(root, "branch", "deployed");
    await write(root, { [POD]: withReference("api", "tokem") });
    const run = async (verb: string, ...args: string[]) =>
      (await tryRun(...bundledLine(verb, ["--root", root, ...args]))).stdout;
    const line = "overlays/dev/web/kustomization.yaml:1: Pod shop/web needs the key tokem";
    expect(await run("check", "--no-server", "--base", "deployed")).toContain(line);
    expect(await run("check", "--no-server", "--all")).toContain(line);
    expect(await run("secrets")).not.toContain(line);
  });
});
