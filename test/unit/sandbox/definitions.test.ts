import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { readDefinitions } from "../../../scripts/lib/sandbox/definitions.ts";
import { sealedFiles } from "../../../scripts/lib/secrets/credential.ts";
import { validator, vendorDefinitions } from "../../support/definitions.ts";

const NAME = "sopssecrets.isindir.github.com";
const root = repositoryRoot();
const vendors = await vendorDefinitions();

/** The version of SopsSecret that files have, of this repository's definition or the vendor's. */
async function version(directory: string | undefined) {
  const definitions = await readDefinitions(root, directory);
  const [found, ...more] = definitions.filter(({ metadata }) => metadata.name === NAME);
  expect(more).toEqual([]);
  const stored = found?.spec.versions.find(({ storage }) => storage);
  if (stored === undefined) throw new Error("no version is stored");
  return stored;
}

describe.each([
  ["this repository's", undefined],
  ["the vendor's", vendors],
])("%s definition of SopsSecret", (whose, directory) => {
  const isThere = whose === "this repository's" || directory !== undefined;
  let faults: (object: unknown) => string[];

  beforeAll(async () => {
    if (!isThere) return;
    const { schema } = await version(directory);
    faults = validator(schema.openAPIV3Schema);
  });

  it.skipIf(!isThere)("takes every sealed file whole", async () => {
    const files = await sealedFiles(root);
    expect(files.length).toBeGreaterThan(20);
    for (const file of files)
      expect(faults(parse(await readFile(join(root, file), "utf8"))), file).toEqual([]);
  });

  it.skipIf(!isThere)("does not take what it would drop, or the operator would not understand", async () => {
    const [file = ""] = await sealedFiles(root);
    const read = async () => parse(await readFile(join(root, file), "utf8"));
    const dropped = await read();
    dropped.sops.shamir_threshold = 1;
    expect(faults(dropped)).toEqual(["/sops must NOT have additional properties"]);
    const nameless = await read();
    delete nameless.spec.secretTemplates[0].name;
    expect(faults(nameless)).toEqual(["/spec/secretTemplates/0 must have required property 'name'"]);
    const empty = await read();
    empty.spec.secretTemplates = [];
    expect(faults(empty)).toEqual(["/spec/secretTemplates must NOT have fewer than 1 items"]);
    const number = await read();
    number.spec.secretTemplates[0].stringData = { pin: 1234 };
    expect(faults(number)).toEqual(["/spec/secretTemplates/0/stringData/pin must be string"]);
  });

  it.skipIf(!isThere)("keeps the status apart, in the version that files have", async () => {
    expect(await version(directory)).toMatchObject({ name: "v1alpha3", subresources: { status: {} } });
  });
});

describe("definitions of vendors", () => {
  async function directory(text: string): Promise<string> {
    const made = await mkdtemp(join(tmpdir(), "crds-"));
    onTestFinished(async () => rm(made, { recursive: true }));
    if (text !== "") await writeFile(join(made, "one.yaml"), text);
    return made;
  }
  const definition = (name: string) =>
    `kind: CustomResourceDefinition\nmetadata:\n  name: ${name}\nspec:\n  group: vendor.example.com\n  names: {kind: One, plural: ones}\n  versions: []\n`;

  it("stand in the place of ours of the same name, and beside the others", async () => {
    const own = await readDefinitions(root, undefined);
    const more = await readDefinitions(root, await directory(definition("others.example.com")));
    expect(more).toHaveLength(own.length + 1);
    const replaced = await readDefinitions(root, await directory(definition(NAME)));
    expect(replaced).toHaveLength(own.length);
    expect(replaced).toContainEqual(
      expect.objectContaining({ spec: expect.objectContaining({ group: "vendor.example.com" }) }),
    );
  });

  it.each([
    ["nothing", "", /has no CustomResourceDefinition$/],
    ["something else", "kind: Secret\n", /one\.yaml is no CustomResourceDefinition$/],
  ])("are refused where there is %s", async (_, text, message) => {
    await expect(readDefinitions(root, await directory(text))).rejects.toThrow(message);
  });
});
