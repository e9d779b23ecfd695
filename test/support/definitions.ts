/** CustomResourceDefinitions: those of vendors, and what one of them takes. */
import { Ajv } from "ajv";
import { glob } from "tinyglobby";
import { z } from "zod";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

/**
 * The directory with vendors' definitions, which are not ours to copy, where somebody keeps them beside the checkout:
 * `../<folder>/crds`. Undefined where there is none.
 */
export async function vendorDefinitions(): Promise<string | undefined> {
  const [directory] = await glob("../*/crds", {
    cwd: repositoryRoot(),
    absolute: true,
    onlyDirectories: true,
  });
  return directory;
}

/**
 * What the API server would say of an object, by a definition's schema.
 * @returns for an object its faults, each as path and message
 */
export function validator(schema: unknown): (object: unknown) => string[] {
  const code = { regExp: Object.assign(goRegExp, { code: "goRegExp" }) };
  const validate = new Ajv({ strict: false, allErrors: true, code }).compile(
    z.record(z.string(), z.unknown()).parse(closed(schema)),
  );
  return (object) => {
    validate(object);
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
}

/** Patterns are Go's, which may say at their beginning that case does not matter. */
function goRegExp(pattern: string, flags: string): RegExp {
  const plain = pattern.replace("(?i)", "");
  return new RegExp(plain, plain === pattern ? flags : `${flags}i`);
}

/** The schema as the API server takes it: what it does not name would be dropped, which counts as a fault here. */
function closed(schema: unknown, isRoot = true): unknown {
  if (Array.isArray(schema)) return schema.map((item) => closed(item, false));
  if (typeof schema !== "object" || schema === null) return schema;
  const inner = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      // Of its own the API server knows `metadata`.
      isRoot && key === "properties" && typeof value === "object"
        ? {
            ...Object.fromEntries(Object.entries(value ?? {}).map(([name, of]) => [name, closed(of, false)])),
            metadata: {},
          }
        : closed(value, false),
    ]),
  );
  return "properties" in schema && !("additionalProperties" in schema)
    ? { ...inner, additionalProperties: false }
    : inner;
}
