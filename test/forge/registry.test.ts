/** What a bump asks a registry, and what it does with the answer. The registry is a real one, in memory. */
import { spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import { settings, write } from "../support/tree.ts";
import {
  bump as call,
  deadPort,
  FILE,
  fileAt,
  history,
  NEW,
  NEWER,
  OLD,
  OWNER,
  pullRequests,
  type Result,
  references,
  repository,
  standIn,
  type TestRepository,
} from "./support.ts";

const BRANCH = "bump/dev/web";
let crane = "";
let registry = "";
/** Of the images NEW and NEWER. */
const digests: Record<string, string> = {};

beforeAll(async () => {
  crane = (await resolveTool("crane")).path;
  registry = `127.0.0.1:${await deadPort()}`;
  const server = spawn(crane, ["registry", "serve", "--address", registry], { stdio: "ignore" });
  const directory = await mkdtemp(join(tmpdir(), "registry-"));
  const isThere = async () => (await fetch(`http://${registry}/v2/`).catch(() => undefined))?.ok || undefined;
  await waitFor("the registry answers", isThere, { everyMs: 50 });
  for (const tag of [OLD, NEW, NEWER]) {
    await writeFile(join(directory, "content"), tag);
    const layer = join(directory, "layer.tar");
    await run("tar", ["-cf", layer, "-C", directory, "content"]);
    await run(crane, ["append", "--new_layer", layer, "--new_tag", `${registry}/shop/web:${tag}`]);
    digests[tag] = (await run(crane, ["digest", `${registry}/shop/web:${tag}`])).trim();
  }
  return async () => {
    server.kill();
    await rm(directory, { recursive: true });
  };
});

/** A repository whose settings name a registry. */
async function repositoryOf(address: string, files: Record<string, string> = {}): Promise<TestRepository> {
  const repo = await repository(files);
  const forge = inject("forge");
  const text = settings(`${forge}/${OWNER}/${repo.name}.git`, `${forge}/api/v1`);
  await write(repo.root, {
    "argocd/settings/settings.yaml": text.replace("registry.shop.test", address),
  });
  return repo;
}

/** With crane on PATH, so that it needs no cache. */
async function bump(repo: TestRepository, args: readonly string[], env: Record<string, string> = {}) {
  const PATH = `${dirname(crane)}:${process.env["PATH"]}`;
  return call(repo.root, args, { FORGE_TOKEN: inject("token"), PATH, ...env });
}

async function attempt(repo: TestRepository, args: readonly string[], env?: Record<string, string>) {
  const before = await references(repo.root);
  const result: Result = await bump(repo, args, env);
  return { ...result, isUntouched: (await references(repo.root)) === before };
}

describe("an image that the registry has", () => {
  it("is pinned by its digest, in the one line that changes, and the commit and the pull request say so", async () => {
    const repo = await repositoryOf(registry);
    const before = await fileAt(repo.root, "main");
    const first = await bump(repo, ["web", NEW]);
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout).toContain(
      `${FILE}:5\n-    newTag: "${OLD}"\n+    newTag: "${NEW}@${digests[NEW]}"\n`,
    );
    expect(await fileAt(repo.root, BRANCH)).toBe(before.replace(OLD, `${NEW}@${digests[NEW]}`));
    const said = `\nDigest: ${digests[NEW]}\nImage in the registry: found`;
    expect(await history(repo.root, "log", "-1", "--format=%B", `origin/${BRANCH}`)).toContain(`${said}\n`);
    expect((await pullRequests(repo))[0]?.body).toContain(said);

    const refs = await references(repo.root);
    expect((await bump(repo, ["web", NEW])).stdout).toMatch(/\nunchanged: #1 /);
    expect(await references(repo.root)).toBe(refs);

    expect((await bump(repo, ["web", NEWER])).stdout).toMatch(/\nupdated: #1 /);
    expect(await fileAt(repo.root, BRANCH)).toBe(before.replace(OLD, `${NEWER}@${digests[NEWER]}`));
  });

  it("goes into the field for the digest, where a person has made one", async () => {
    const text = `images:\n  - name: registry/shop/web\n    newTag: "${OLD}"\n    digest: sha256:${"0".repeat(64)}\n`;
    const repo = await repositoryOf(registry, { [FILE]: text });
    expect(await bump(repo, ["web", NEW, "--direct"])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await fileAt(repo.root, "main")).toBe(
      text.replace(OLD, NEW).replace(`sha256:${"0".repeat(64)}`, `"${digests[NEW]}"`),
    );
  });

  it("may be the one that dev has: then its digest is added", async () => {
    const repo = await repositoryOf(registry);
    const before = await fileAt(repo.root, "main");
    expect((await bump(repo, ["web", OLD, "--direct"])).exitCode).toBe(0);
    expect(await fileAt(repo.root, "main")).toBe(before.replace(OLD, `${OLD}@${digests[OLD]}`));
    const refs = await references(repo.root);
    for (const options of [[], ["--no-verify"]]) {
      const again = await bump(repo, ["web", OLD, "--direct", ...options]);
      expect(again).toMatchObject({
        exitCode: 0,
        stdout: expect.stringMatching(/^unchanged: dev on main has /),
      });
    }
    expect(await references(repo.root)).toBe(refs);
  });

  it("must have the digest that was given", async () => {
    const repo = await repositoryOf(registry);
    const wrong = `sha256:${"a".repeat(64)}`;
    expect(await attempt(repo, ["web", NEW, "--digest", wrong])).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: `bump: the registry has ${digests[NEW]} as shop/web:${NEW}, not ${wrong}; was the tag pushed a second time? leave --digest out to take what is there\n`,
      isUntouched: true,
    });
    const right = await attempt(repo, ["web", NEW, "--digest", digests[NEW] ?? "", "--dry-run"]);
    expect(right).toMatchObject({ exitCode: 0, isUntouched: true });
    expect(right.stdout).toContain(`+    newTag: "${NEW}@${digests[NEW]}"\n`);
  });

  it("is not asked for with --no-verify: the digest that was given is pinned, and the commit says so", async () => {
    const repo = await repositoryOf(`127.0.0.1:${await deadPort()}`);
    const digest = `sha256:${"a".repeat(64)}`;
    const before = await fileAt(repo.root, "main");
    const result = await bump(repo, ["web", NEW, "--no-verify", "--digest", digest, "--direct"]);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toContain("\nimage in the registry: not verified, as --no-verify asks\n");
    expect(await fileAt(repo.root, "main")).toBe(before.replace(OLD, `${NEW}@${digest}`));
    expect(await history(repo.root, "log", "-1", "--format=%B", "origin/main")).toContain(
      `\nDigest: ${digest}\nImage in the registry: not verified, as --no-verify asks\n`,
    );
  });
});

describe("a registry", () => {
  it("that does not have the image: exit code 3", async () => {
    const repo = await repositoryOf(registry);
    const none = "1".repeat(40);
    expect(await attempt(repo, ["web", none])).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: `bump: there is no image ${registry}/shop/web:${none}; push it first, or look at the build of that commit; or leave the registry out of it with --no-verify\n`,
      isUntouched: true,
    });
  });

  it("that has never seen the repository: exit code 3", async () => {
    const repo = await repositoryOf(`${registry}/elsewhere`);
    const line = new RegExp(`^bump: there is no image ${registry}/elsewhere/shop/web:${NEW}; push it first`);
    expect(await attempt(repo, ["web", NEW])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(line),
      isUntouched: true,
    });
  });

  it("that is down: exit code 5", async () => {
    const dead = `127.0.0.1:${await deadPort()}`;
    const repo = await repositoryOf(dead);
    const line = new RegExp(
      `^bump: ${dead} cannot be asked: .*refused; try again later, or leave .*--no-verify\n$`,
    );
    expect(await attempt(repo, ["web", NEW])).toMatchObject({
      exitCode: 5,
      stderr: expect.stringMatching(line),
      isUntouched: true,
    });
  });

  it.each([
    [
      401,
      "UNAUTHORIZED",
      3,
      /^bump: \S+ does not show \S+:89abcdef\w+ to you; is it there\? log in with `docker login /,
    ],
    [
      403,
      "DENIED",
      3,
      /^bump: \S+ does not show \S+ to you; .* or leave the registry out of it with --no-verify\n$/,
    ],
    [404, "MANIFEST_UNKNOWN", 3, /^bump: there is no image 127/],
    [
      418,
      "TEAPOT",
      5,
      /^bump: 127\.0\.0\.1:\d+ answers 418: .*; try again later, or leave .* --no-verify\n$/,
    ],
  ])("that answers %i, %s", async (status, code, exitCode, line) => {
    const failing = await standIn((request, response) => {
      const body = JSON.stringify({ errors: [{ code, message: "no\nmore" }] });
      const answers = request.url === "/v2/" ? 200 : status;
      response.writeHead(answers, { "content-type": "application/json" }).end(body);
    });
    const repo = await repositoryOf(new URL(failing.url).host);
    expect(await attempt(repo, ["web", NEW])).toEqual({
      exitCode,
      stdout: "",
      stderr: expect.stringMatching(line),
      isUntouched: true,
    });
  });

  it("is asked with the credentials of the docker configuration; a helper never sees a forge's token", async () => {
    const isIn = `Basic ${Buffer.from("me:secret").toString("base64")}`;
    const asking = await standIn((request, response) => {
      if (request.headers.authorization === isIn) response.writeHead(404).end();
      else response.writeHead(401, { "www-authenticate": 'Basic realm="shop"' }).end();
    });
    const { host } = new URL(asking.url);
    const repo = await repositoryOf(host);
    expect((await attempt(repo, ["web", NEW])).stderr).toMatch(/does not show/);
    const configuration = join(repo.root, "docker");
    const helper = join(configuration, "docker-credential-shop");
    const seen = join(configuration, "seen");
    await write(configuration, {
      "config.json": JSON.stringify({ credHelpers: { [host]: "shop" } }),
      "docker-credential-shop": `#!/bin/sh\nenv > '${seen}'\necho '{"Username":"me","Secret":"secret"}'\n`,
    });
    await chmod(helper, 0o755);
    const env = {
      DOCKER_CONFIG: configuration,
      GITHUB_TOKEN: "another-token",
      SOURCES_TOKEN: "another-token",
      PATH: `${configuration}:${dirname(crane)}:${process.env["PATH"]}`,
    };
    const { stdout, stderr } = await attempt(repo, ["web", NEW], env);
    expect(stderr).toMatch(/^bump: there is no image /);
    expect(stdout + stderr).not.toContain("secret");
    expect(await readFile(seen, "utf8")).toContain("DOCKER_CONFIG");
    expect(await readFile(seen, "utf8")).not.toMatch(new RegExp(`TOKEN|${inject("token")}`));
  });

  it("that is still the example's: exit code 3", async () => {
    const repo = await repositoryOf("registry.example.com");
    expect(await attempt(repo, ["web", NEW])).toMatchObject({
      exitCode: 3,
      stderr: expect.stringMatching(
        /settings\.yaml still has an example as its registry; put your own there, or/,
      ),
      isUntouched: true,
    });
  });

  it("is not asked for a sandbox, which has none, and the commit says so", async () => {
    const repo = await repositoryOf("registry.example.com");
    // What the command finds a sandbox by.
    const work = join(repo.root, ".sandbox/work");
    const text = settings(`${inject("forge")}/${OWNER}/${repo.name}.git`, `${inject("forge")}/api/v1`);
    await write(work, { "argocd/settings/settings.yaml": text });
    await write(repo.root, { ".sandbox/env": `export FORGE_TOKEN='${inject("token")}'\n` });
    expect(await bump(repo, ["web", NEW, "--direct"])).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await history(repo.root, "log", "-1", "--format=%B", "origin/main")).toContain(
      "\nImage in the registry: not verified, the sandbox has no registry\n",
    );
  });
});
