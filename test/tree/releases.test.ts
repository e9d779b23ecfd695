import { readFile } from "node:fs/promises";
import { glob } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { GitHistory } from "../../scripts/lib/git/history.ts";
import {
  deriveRelease,
  formatRelease,
  parseRelease,
  releasePath,
} from "../../scripts/lib/release/release.ts";
import { readCatalogue } from "../../scripts/lib/tree/catalogue.ts";
import { readEnvironments } from "../../scripts/lib/tree/environment.ts";
import { allOverlays } from "../../scripts/lib/tree/overlays.ts";
import { kustomize, ROOT } from "./support.ts";

const GIT = new GitHistory(ROOT);
const catalogue = await readCatalogue(ROOT);
const environments = await readEnvironments(ROOT);
const receiving = environments.filter(({ promotesFrom }) => promotesFrom !== undefined);
const overlays = new Set(await allOverlays(ROOT));
const cases = receiving.flatMap(({ name: env }) =>
  catalogue
    .filter(({ app }) => overlays.has(`overlays/${env}/${app}`))
    .map((app) => ({ env, name: app.app, app })),
);

async function read(env: string, app: string) {
  const path = releasePath(env, app);
  const text = await readFile(`${ROOT}/${path}`, "utf8");
  return { text, release: parseRelease(text, path) };
}

describe.each(cases)("the release of $name in $env", ({ env, name, app }) => {
  it("is whole: head, digest and content belong together", async () => {
    const { text, release } = await read(env, name);
    expect(formatRelease(release)).toBe(text);
    expect(release.app).toBe(name);
    expect(release.from).toBe(environments[0]?.name);
  });

  it("pins the image of a service, and only of a service", async () => {
    const { release } = await read(env, name);
    const image =
      app.kind === "service"
        ? `${app.image}:${/[0-9a-f]{40}(@sha256:[0-9a-f]{64})?/.exec(release.image ?? "")?.[0]}`
        : undefined;
    expect(release.image).toBe(image);
    const own = release.body.split("\n").filter((line) => line.includes("image: registry/"));
    expect(own.map((line) => line.trim())).toEqual(image === undefined ? [] : [`image: registry/${image}`]);
  });

  it("is what its commit renders, where the clone has that commit", async ({ skip }) => {
    const { text, release } = await read(env, name);
    expect(release.commit).not.toMatch(/^0+$/);
    skip(!(await GIT.stoodAt("HEAD")).has(release.commit), "a shallow or squashed clone");
    const { from, commit } = release;
    const derived = await deriveRelease({
      git: GIT,
      app: name,
      from,
      commit,
      kustomize: await kustomize(),
    });
    expect(derived).toBe(text);
  });
});

it("keeps the same release, byte for byte, in every environment that has it", async () => {
  const texts = new Map<string, string>();
  for (const { env, name } of cases) {
    const { text, release } = await read(env, name);
    const key = `${name} ${release.commit} ${release.image}`;
    expect(texts.get(key) ?? text).toBe(text);
    texts.set(key, text);
  }
});

it("has the line ends of the commit in every checkout", async () => {
  const files = await glob("overlays/*/*/release.yaml", { cwd: ROOT });
  const attributes = await run("git", ["check-attr", "text", "eol", "--", ...files], { cwd: ROOT });
  expect(
    new Set(
      attributes
        .trim()
        .split("\n")
        .map((line) => line.split(": ").slice(1).join(": ")),
    ),
  ).toEqual(new Set(["text: auto", "eol: lf"]));
});

it("finds no release in an environment that builds the live base", async () => {
  expect(await glob(`overlays/${environments[0]?.name}/**/release.yaml`, { cwd: ROOT })).toEqual([]);
});
