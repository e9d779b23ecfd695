/** The catalogue: `apps/<app>.yaml` says what exists. Argo CD's ApplicationSets read the same files. */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { glob } from "tinyglobby";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { RefusedError, UsageError } from "../errors.ts";

const name = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/, "not a name of lower-case letters, digits and dashes");

/** How a key of a Secret comes by its value. */
const SecretKey = z.union(
  [
    /** It is no secret by itself, such as the name of a user. */
    z.strictObject({ fixed: z.string() }),
    /** So many random letters and digits. */
    z.strictObject({ generate: z.int().min(16).max(256) }),
    /** A person brings it; the text says from where. */
    z.strictObject({ supply: z.string().min(1) }),
  ],
  "neither fixed, nor generate (16 to 256 characters), nor supply",
);
const secretName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, "not the name of a Secret");
const Secret = z.union(
  [
    z.strictObject({
      name: secretName,
      type: z.string().default("Opaque"),
      keys: z
        .record(z.string().regex(/^[\w.-]{1,253}$/, "not the name of a Secret's key"), SecretKey)
        .refine((keys) => Object.keys(keys).length > 0, "no keys"),
    }),
    /** A copy of what another app's Secret holds: keys and values are the same. */
    z.strictObject({
      name: secretName,
      sameAs: z.string().regex(/^[a-z0-9-]+\/[a-z0-9.-]+$/, "not <app>/<secret>"),
    }),
  ],
  "not a Secret with its keys, or with the one that it is the same as",
);

const port = z.int().min(1).max(65535);
/** The other ends of flows, each with its ports. */
const Ends = z
  .record(
    z
      .string()
      .regex(/^([a-z0-9-]+\/[a-z0-9-]+|internet|anywhere)$/, "not <namespace>/<app>, internet or anywhere"),
    z.union([port, z.array(port).min(1)], "not a port, or a list of ports"),
  )
  .default({});

const common = {
  app: name,
  namespace: name,
  owners: z.array(name).min(1),
  /** What the app needs; sealed in each of its overlays. */
  secrets: z.array(Secret).default([]),
  /**
   * Who talks to the app, and whom it talks to; DNS and traces go without saying. A flow between two apps is at one of them. The
   * network policies are compared with all of these.
   */
  flows: z.strictObject({ from: Ends, to: Ends }).optional(),
};
/** How services use a store: a component of `base/components`, their own copy of one of its Secrets, and its port. */
const Client = z.strictObject({ component: name, secret: secretName, port });
/** The kind decides which AppProject an app has: argocd/environment/projects. */
const App = z.discriminatedUnion("kind", [
  z.strictObject({ ...common, kind: z.enum(["foundation", "platform"]) }),
  z.strictObject({ ...common, kind: z.literal("store"), client: Client.optional() }),
  z.strictObject({
    ...common,
    kind: z.literal("service"),
    /** Path of the image in the registry. */
    image: z
      .string()
      .regex(/^[a-z0-9-]+(\/[a-z0-9-]+)+$/, "not an image path such as ecommerce/user-service"),
    /** Repository of the source, `owner/name`. */
    source: z.string().regex(/^[\w.-]+\/[\w.-]+$/, "not a repository as owner/name"),
  }),
]);

/** An app of the catalogue; `image` and `source` are there for services only. */
export type App = z.infer<typeof App>;
export type SecretKey = z.infer<typeof SecretKey>;

/**
 * Reads the catalogue.
 * @param root the repository's root directory
 * @returns the apps in the order of their names
 * @throws RefusedError naming file and line, when a file is not valid or its name is not its app's
 */
export async function readCatalogue(root: string): Promise<App[]> {
  const files = await glob("apps/*.yaml", { cwd: root });
  const names = files.map((file) => basename(file, ".yaml")).sort();
  return Promise.all(
    names.map(async (expected) => {
      const file = `apps/${expected}.yaml`;
      const app = readDocument(await readFile(join(root, file), "utf8"), file, App);
      if (app.app === expected) return app;
      throw new RefusedError(`${file} is about ${app.app}`, `rename it to apps/${app.app}.yaml`);
    }),
  );
}

/**
 * An app by its name.
 * @throws UsageError that says which there are
 */
export function findApp<T extends Pick<App, "app">>(catalogue: readonly T[], wanted: string): T {
  const found = catalogue.find(({ app }) => app === wanted);
  if (found !== undefined) return found;
  throw new UsageError(
    `there is no app ${wanted}`,
    `there are ${catalogue.map(({ app }) => app).join(", ")}`,
  );
}

/**
 * The apps with some names, in the catalogue's order; all when there is no name.
 * @throws UsageError for the first name that no app has
 */
export function findApps<T extends Pick<App, "app">>(catalogue: readonly T[], names: readonly string[]): T[] {
  for (const wanted of names) findApp(catalogue, wanted);
  return catalogue.filter(({ app }) => names.length === 0 || names.includes(app));
}
