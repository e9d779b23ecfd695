/**
 * A release is a file: `overlays/<env>/<app>/release.yaml`, what an app is, rendered once and then carried from environment
 * to environment as it is. A head of comments says where it came from; docs/decisions/0001-a-release-is-a-file.md says why.
 */
import { readFile, realpath, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { stringify } from "yaml";
import { DIGEST, sha256 } from "../digest.ts";
import { RefusedError } from "../errors.ts";
import type { GitObjects } from "../git/objects.ts";
import { withTemporaryDirectory } from "../temporary.ts";
import { type App, readCatalogue } from "../tree/catalogue.ts";
import { build, type ImagePin, pinnedImage } from "../tree/kustomize.ts";

export interface Release {
  app: string;
  /** Path, tag and digest of the app's own image, without a registry; undefined for an app that has none. */
  image: string | undefined;
  /** The environment it was rendered for. */
  from: string;
  /** The commit of this repository it was rendered from. */
  commit: string;
  /** What is applied: YAML documents. */
  body: string;
}

const TITLE = "# A release: written by `npm run promote`, never by hand.";
const NO_IMAGE = "none";
/** A head's fields, in their order. */
const FIELDS = {
  app: /^[a-z0-9-]+$/,
  image: /^\S+$/,
  from: /^[a-z0-9-]+$/,
  commit: /^[0-9a-f]{40}$/,
  digest: DIGEST,
};
type Field = keyof typeof FIELDS;
const ORDER: readonly Field[] = ["app", "image", "from", "commit", "digest"];

/** Where an environment keeps an app's release, relative to the root. */
export function releasePath(environment: string, app: string): string {
  return `overlays/${environment}/${app}/release.yaml`;
}

/** The text of a release file; `parseRelease` is its inverse. */
export function formatRelease(release: Release): string {
  const values = { ...release, image: release.image ?? NO_IMAGE, digest: sha256(release.body) };
  return [TITLE, ...ORDER.map((field) => `# ${field}: ${values[field]}`), release.body].join("\n");
}

/**
 * Reads a release file.
 * @param text its content
 * @param file its name, for messages
 * @throws RefusedError with file and line when the head is not one, or the body is not the one its digest names
 */
export function parseRelease(text: string, file: string): Release {
  const lines = text.split("\n");
  if (lines[0] !== TITLE) throw damaged(file, 1, "not the head of a release");
  const value = (field: Field): string => {
    const number = ORDER.indexOf(field) + 1;
    const prefix = `# ${field}: `;
    const line = lines[number] ?? "";
    const found = line.slice(prefix.length);
    if (line.startsWith(prefix) && FIELDS[field].test(found)) return found;
    throw damaged(file, number + 1, `not a line "${prefix}…"`);
  };
  const image = value("image");
  const release = {
    app: value("app"),
    image: image === NO_IMAGE ? undefined : image,
    from: value("from"),
    commit: value("commit"),
    body: bodyOf(text),
  };
  if (sha256(release.body) !== value("digest")) {
    throw damaged(file, ORDER.length + 1, "the content is not the one this digest names");
  }
  return release;
}

/** The release that a commit has at a path; undefined where there is none, or a damaged one, which nobody can name. */
export async function releaseAt(
  git: Pick<GitObjects, "read">,
  commit: string,
  path: string,
): Promise<Release | undefined> {
  try {
    const file = await git.read(commit, path);
    return file && parseRelease(file.text, path);
  } catch (error) {
    if (error instanceof RefusedError) return undefined;
    throw error;
  }
}

/** What stands below the head of a release file, whatever the head says: to compare, not to apply. */
export function bodyOf(text: string): string {
  return text
    .split("\n")
    .slice(ORDER.length + 1)
    .join("\n");
}

function damaged(file: string, line: number, what: string): RefusedError {
  return new RefusedError(`${file}:${line}: ${what}`, "restore it from Git, or remove it and promote again");
}

/** The commit of the app's own repository that its image was built from; undefined for an app without an image. */
export function imageCommit({ image }: Pick<Release, "image">): string | undefined {
  return /:([0-9a-f]{40})(?:@|$)/.exec(image ?? "")?.[1];
}

/** What a release is called in short: its image's commit, or that of its base where it has no image. */
export function releaseName(release: Pick<Release, "image" | "commit">): string {
  return imageCommit(release)?.slice(0, 7) ?? `base ${release.commit.slice(0, 7)}`;
}

/** The paths that decide what `renderRelease` answers, relative to the root. */
export function renderInputs(app: string, from: string): string[] {
  return [`base/${app}`, "base/components", `overlays/${from}/${app}/kustomization.yaml`, `apps/${app}.yaml`];
}

/**
 * Renders an app's base with the image of an environment, without that environment's patches.
 * @param options.root directory with `base/` and `overlays/`
 * @param options.app the app, from the catalogue
 * @param options.from the environment whose image it takes
 * @param options.commit the commit that `root` holds, for the head
 * @param options.kustomize path of the program
 * @throws RefusedError when the environment pins no image, or not by commit
 * @throws ExternalError when kustomize cannot render the base
 */
export async function renderRelease(options: {
  root: string;
  app: App;
  from: string;
  commit: string;
  kustomize: string;
}): Promise<Release> {
  const { root, app, from, commit, kustomize } = options;
  const pin = await imageOf(root, app, from);
  return withTemporaryDirectory("release-", async (made) => {
    const directory = await realpath(made);
    const kustomization = {
      resources: [relative(directory, join(await realpath(root), "base", app.app))],
      images:
        pin === undefined
          ? []
          : [{ name: pin.name, newTag: pin.tag, ...(pin.digest ? { digest: pin.digest } : {}) }],
    };
    await writeFile(join(directory, "kustomization.yaml"), stringify(kustomization));
    const body = await build(kustomize, directory);
    return { app: app.app, image: pin && imageText(pin), from, commit, body };
  });
}

/**
 * The image of an app in the first environment, as a release of it would name it; undefined for an app that has none.
 * @throws RefusedError when it is pinned by no commit
 */
export async function liveImage(root: string, app: App, environment: string): Promise<string | undefined> {
  const pin = await imageOf(root, app, environment);
  return pin && imageText(pin);
}

async function imageOf(root: string, app: App, from: string): Promise<ImagePin | undefined> {
  if (app.kind !== "service") return undefined;
  const file = `overlays/${from}/${app.app}/kustomization.yaml`;
  return pinnedImage(await readFile(join(root, file), "utf8"), file, `registry/${app.image}`);
}

function imageText(pin: ImagePin): string {
  const name = pin.name.slice("registry/".length);
  return `${name}:${pin.tag}${pin.digest === undefined ? "" : `@${pin.digest}`}`;
}

/**
 * Derives a release anew from the commit it names.
 * @param options.git a clone that has the commit
 * @returns the text of the file as it should be
 * @throws RefusedError when the commit has no such app
 * @throws ExternalError when the clone does not have the commit, or it cannot be rendered
 */
export async function deriveRelease(options: {
  git: GitObjects;
  app: string;
  from: string;
  commit: string;
  kustomize: string;
}): Promise<string> {
  const { git, app: name, from, commit, kustomize } = options;
  return git.withTree(commit, renderInputs(name, from), async (tree) => {
    const app = (await readCatalogue(tree)).find((candidate) => candidate.app === name);
    if (app === undefined) throw new RefusedError(`it has no app ${name}`);
    return formatRelease(await renderRelease({ root: tree, app, from, commit, kustomize }));
  });
}
