import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { tryRun } from "../../../scripts/lib/exec.ts";
import { bundledLine } from "../../support/commands.ts";
import { commit, git, write } from "../../support/tree.ts";
import { API, DATABASE, read, type SealedRepository, sealedRepository } from "./audit-support.ts";

const OVERLAY = "overlays/dev/web/kustomization.yaml";

let repository: SealedRepository;
let root: string;
let overlay: string;
let api: string;
beforeAll(async () => {
  repository = await sealedRepository();
  ({ root } = repository);
  overlay = await read(root, OVERLAY);
  api = await read(root, API);
  await commit(root);
  await git(root, "branch", "deployed");
});
beforeEach(async () => {
  await git(root, "checkout", "--quiet", "--force", "-B", "change", "deployed");
});
afterAll(async () => repository.remove());

async function check(files: Record<string, string>): Promise<string> {
  await write(root, files);
  await commit(root);
  const { exitCode, stdout } = await tryRun(
    ...bundledLine("check", ["--no-server", "--root", root, "--base", "deployed"]),
  );
  expect(exitCode).toBe(4);
  return stdout;
}

const renamed = () => api.replace(/^( +)name: .*/m, "$1name: stolen");

it("a sealed file under another name is found where it stands, and where an overlay applies it", async () => {
  const stdout = await check({
    "overlays/dev/web/extra.yaml": renamed(),
    [OVERLAY]: overlay.replace("resources:\n", "resources:\n  - extra.yaml\n"),
  });
  expect(stdout).toContain(
    "overlays/dev/web/extra.yaml:1: a SopsSecret that `npm run seal` has not written; remove it",
  );
  expect(stdout).toContain(
    `${OVERLAY}:1: applies isindir.github.com/SopsSecret shop/stolen: it has no sealed file`,
  );
});

it.each([
  ["in a directory that nobody looks into", "docs/more/secret.yaml"],
  ["in a file of any name", "docs/more/values.txt"],
])("one that lies %s is found where an overlay applies it", async (_, path) => {
  const file = path.split("/").at(-1);
  const stdout = await check({
    [path]: renamed(),
    "docs/more/kustomization.yaml": `resources:\n  - ${file}\n`,
    [OVERLAY]: overlay.replace("resources:\n", "resources:\n  - ../../../docs/more\n"),
  });
  expect(stdout).toContain(
    `${OVERLAY}:1: applies isindir.github.com/SopsSecret shop/stolen: it has no sealed file`,
  );
});

it.each([
  ["another name of the Secret", "/spec/secretTemplates/0/name", '"stolen"'],
  ["another namespace", "/metadata/namespace", '"market"'],
  ["a value of its own", "/spec/secretTemplates/0/stringData/token", '"mine"'],
  ["no MAC", "/sops/mac", '""'],
])("one to which a patch gives %s differs from its file", async (_, path, value) => {
  const patch = `patches:\n  - target: {kind: SopsSecret, name: api}\n    patch: '[{"op": "replace", "path": "${path}", "value": ${value}}]'\n`;
  expect(await check({ [OVERLAY]: `${overlay}${patch}` })).toMatch(
    /kustomization\.yaml:1: applies isindir\.github\.com\/SopsSecret \w+\/api: it differs from overlays\/dev\/web\/api\.sops\.yaml/,
  );
});

it("a Secret in clear where a sealed one should be is called that, with what to do", async () => {
  const stdout = await check({ [DATABASE]: "kind: Secret\nstringData:\n  password: correct-horse\n" });
  expect(stdout).toContain(
    `${DATABASE}:1: a Secret in clear; change its values where they are used, and seal the new ones; Git keeps`,
  );
  expect(stdout).toContain(`${DATABASE}:3: the value of password in a Secret is in clear; make a new value`);
});

it.each([
  [
    "in a file of any name",
    {
      "overlays/dev/web/values.txt":
        "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: b}\n",
    },
    "resources:\n  - values.txt\n",
  ],
  [
    "of a kustomization",
    {},
    "secretGenerator:\n  - {name: db, literals: [a=b], options: {disableNameSuffixHash: true}}\nresources:\n",
  ],
])("a Secret %s is found where an overlay applies it", async (_, files, resources) => {
  const stdout = await check({ ...files, [OVERLAY]: overlay.replace("resources:\n", resources) });
  expect(stdout).toMatch(
    /kustomization\.yaml:1: applies Secret (\w+\/)?db: the value of a in a Secret is in clear/,
  );
});
