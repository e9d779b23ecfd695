import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatIdentity } from "../../../scripts/lib/secrets/age.ts";
import type { Here } from "../../../scripts/lib/secrets/keys/change.ts";
import { applyCreate, planCreate } from "../../../scripts/lib/secrets/keys/create.ts";
import { type ForgetPlan, planForget } from "../../../scripts/lib/secrets/keys/forget.ts";
import { commit, git, temporary, write } from "../../support/tree.ts";
import { type Fixture, filesOf, programs, sealedRepository } from "./keys-support.ts";

const READERS = { dev: ["cluster-dev", "ada"], test: ["cluster-test", "ada"], live: ["cluster-live"] };

function keyOf({ keys }: Fixture, name: string): string {
  return keys.get(name)?.recipient ?? "";
}

/** A text of keys, as age-keygen writes it. */
function keyring({ keys }: Fixture, ...names: string[]): string {
  const texts = names.flatMap((name) => keys.get(name) ?? []).map(formatIdentity);
  return texts.map((text) => `# created: 2026-11-22T20:38:53Z\n${text}`).join("");
}

describe("a key that a file forgets", () => {
  /** A file with dev's old key and the one that has taken its place; that is not committed yet. */
  async function replaced(): Promise<{ team: Fixture; here: Here; file: string; old: string; key: string }> {
    const team = await sealedRepository(READERS);
    const { sops, ageKeygen } = await programs();
    const tool: Here["tool"] = async (name) => (name === "sops" ? sops : ageKeygen);
    const here = { root: team.root, env: await team.envWith("ada"), tool };
    const file = join(await temporary(), "keys.txt");
    await writeFile(file, `# ours\n${keyring(team, "cluster-dev")}# the new one\n`);
    const plan = await planCreate(here, {
      environment: "dev",
      toCluster: undefined,
      toFile: file,
      trustThisMachine: false,
      name: undefined,
      replace: true,
      later: false,
    });
    await applyCreate(here, plan);
    return { team, here, file, old: keyOf(team, "cluster-dev"), key: plan.recipient.key };
  }

  it("is one that the rules name no longer, and what stays is there as before", async () => {
    const { team, here, file, old, key } = await replaced();
    await commit(team.root);
    await chmod(file, 0o644);
    const both = await readFile(file, "utf8");
    const forget = async (...args: string[]) =>
      team.command("keys", ["forget", "dev", "--in-file", file, ...args], here.env);
    const dry = await forget("--dry-run");
    expect(dry).toMatchObject({ exitCode: 0, stderr: "" });
    expect(dry.stdout.split("\n")).toEqual([
      `not done: ${file} would forget 1 key and keep 1`,
      expect.stringMatching(/^PUBLIC KEY +NAME +THEN$/),
      `${key}  cluster-dev  stays`,
      `${old}  -            goes`,
      "No sealed file needs what goes. Looked at: the work tree, HEAD.",
      "",
    ]);
    expect(await readFile(file, "utf8")).toBe(both);

    const done = await forget();
    expect(done.stdout).toContain(`${file} has forgotten 1 key and keeps 1\n`);
    const left = await readFile(file, "utf8");
    expect(left).toMatch(
      new RegExp(`^# ours\n# the new one\n# public key: ${key}\nAGE-SECRET-KEY-1[A-Z0-9]+\n$`),
    );
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const again = await forget();
    expect(again.stdout).toBe(`unchanged: ${file} has only keys that .sops.yaml names for dev\n`);
    expect(await readFile(file, "utf8")).toBe(left);
    expect(JSON.stringify([dry, done, again])).not.toContain("AGE-SECRET-KEY");
    expect([...(await filesOf(join(file, ".."))).keys()]).toEqual(["keys.txt"]);
    expect(await git(team.root, "status", "--porcelain")).toBe("");
  });

  it("is not one for which a file is sealed in the work tree, its commit or the deployed branch", async () => {
    const { team, here, file, old } = await replaced();
    const path = "overlays/dev/web/payment.sops.yaml";
    const plan = async () => planForget(here, { environments: "dev", inCluster: undefined, inFile: file });
    const needed = (where: string) => `${where} is sealed for ${old}, and for no key that stays`;
    await expect(plan()).rejects.toThrow(needed("HEAD"));

    const before = (await git(team.root, "rev-parse", "HEAD")).trim();
    const head = await commit(team.root);
    await git(team.root, "update-ref", "refs/remotes/origin/main", before);
    await expect(plan()).rejects.toThrow(needed("origin/main"));

    await git(team.root, "update-ref", "refs/remotes/origin/main", head);
    expect((await plan()).looked).toEqual(["the work tree", "HEAD", "origin/main"]);
    await write(team.root, { [path]: await git(team.root, "show", `${before}:${path}`) });
    await expect(plan()).rejects.toThrow(`${path} in ${needed("the work tree")}`);
  });

  interface Case {
    args?: string[];
    has?: string[];
    more?: string;
    readers?: Record<string, string[]>;
    exitCode?: number;
    says: RegExp;
  }
  const cases: [string, Case][] = [
    [
      "when nothing would be left",
      { has: ["ada"], args: ["live"], says: /has no key that \.sops\.yaml names for live/ },
    ],
    ["when there is none", { has: [], says: /names for dev: nothing would be left/ }],
    [
      "when another environment reads with it",
      {
        has: ["cluster-dev", "cluster-test"],
        says: /has the key of cluster-test, which reads test; name that environment, too, as in dev,test$/,
      },
    ],
    [
      "when it is of something else",
      { has: ["cluster-dev", "newcomer"], says: /has a key that \.sops\.yaml has never named: age1/ },
    ],
    [
      "beside what age-keygen does not know",
      { has: ["cluster-dev"], more: "AGE-PLUGIN-X-1QQQ\n", says: /whose public key age-keygen cannot tell/ },
    ],
    [
      "of an environment of the example",
      {
        readers: { ...READERS, live: ["example-live"] },
        args: ["live"],
        says: /live is sealed for the example/,
      },
    ],
    ["of no environment", { args: ["prd"], exitCode: 2, says: /there is no environment "prd"/ }],
    [
      "in two places at once",
      {
        args: ["dev", "--in-cluster", "c"],
        exitCode: 2,
        says: /say either --in-cluster <context> or --in-file/,
      },
    ],
  ];
  it.each(cases)("is not forgotten %s", async (_, { args, has, more, readers, exitCode, says }) => {
    const team = await sealedRepository(readers ?? READERS);
    const file = join(await temporary(), "keys.txt");
    const text = keyring(team, ...(has ?? ["cluster-dev"])) + (more ?? "");
    await writeFile(file, text);
    const line = ["forget", ...(args ?? ["dev"]), "--in-file", file];
    const result = await team.command("keys", line, await team.envWith());
    expect(result).toMatchObject({ exitCode: exitCode ?? 3, stdout: "" });
    expect(result.stderr.trim()).toMatch(says);
    expect(result.stderr.trim().split("\n")).toHaveLength(1);
    expect(result.stderr).not.toMatch(/AGE-[SP]/);
    expect(await readFile(file, "utf8")).toBe(text);
  });

  it("is none that another one of the named environments reads with", async () => {
    const team = await sealedRepository(READERS);
    const file = join(await temporary(), "keys.txt");
    await writeFile(file, keyring(team, "cluster-dev", "cluster-test"));
    const line = ["forget", "dev,test", "--in-file", file];
    const { stdout } = await team.command("keys", line, await team.envWith());
    expect(stdout).toBe(`unchanged: ${file} has only keys that .sops.yaml names for dev, test\n`);
  });
});

/** Remembers what it is asked, and keeps one Secret and perhaps SopsSecrets: as a cluster would, without one. */
const KUBECTL = `#!/bin/sh
cd "$(dirname "$0")"
echo "$@" >> calls; env >> calls
case "$1 $2" in
"get secret") cat secret.json 2>/dev/null || true ;;
"get crd") test ! -e sealed.json || echo customresourcedefinition.apiextensions.k8s.io/$3 ;;
"get sopssecrets.isindir.github.com") cat sealed.json ;;
"replace "*) cat > new.json
  test ! -e changed || { echo 'Error from server (Conflict): the object has been modified' >&2; exit 1; }
  mv new.json secret.json ;;
*) exit 9 ;;
esac
`;

describe("a key that a cluster forgets", () => {
  interface Cluster {
    team: Fixture;
    directory: string;
    plan: () => Promise<ForgetPlan>;
    text: () => Promise<string>;
  }
  /** @param names whose keys its Secret has */
  async function cluster(...names: string[]): Promise<Cluster> {
    const team = await sealedRepository(READERS);
    const directory = await temporary();
    const kubectl = join(directory, "kubectl");
    await writeFile(kubectl, KUBECTL, { mode: 0o755 });
    const key = Buffer.from(keyring(team, ...names)).toString("base64");
    if (names.length > 0)
      await write(directory, {
        "secret.json": JSON.stringify({ metadata: { resourceVersion: "7" }, data: { key } }),
      });
    const { ageKeygen } = await programs();
    const here: Here = {
      root: team.root,
      env: {},
      tool: async (name) => (name === "kubectl" ? kubectl : ageKeygen),
    };
    return {
      team,
      directory,
      plan: async () => planForget(here, { environments: "live", inCluster: "c", inFile: undefined }),
      text: async () => {
        const secret: { metadata: unknown; data: { key: string } } = JSON.parse(
          await readFile(join(directory, "secret.json"), "utf8"),
        );
        expect(secret.metadata).toMatchObject({ resourceVersion: "7" });
        return Buffer.from(secret.data.key, "base64").toString();
      },
    };
  }
  /** A SopsSecret as the cluster has it. */
  const sealedFor = (...recipients: string[]) =>
    JSON.stringify({
      items: [
        {
          metadata: { name: "payment", namespace: "shop" },
          sops: { age: recipients.map((recipient) => ({ recipient, enc: "x" })) },
        },
        { metadata: { name: "nobodys", namespace: "shop" } },
      ],
    });

  it("leaves its Secret through standard input, and what stays is there as before", async () => {
    const { team, directory, plan, text } = await cluster("newcomer", "cluster-live", "ada");
    await write(directory, {
      "sealed.json": sealedFor(keyOf(team, "newcomer"), keyOf(team, "cluster-live")),
    });
    const planned = await plan();
    expect(planned).toMatchObject({
      place: "c",
      kept: [{ name: "cluster-live", key: keyOf(team, "cluster-live") }],
      gone: [
        { name: keyOf(team, "newcomer"), key: keyOf(team, "newcomer") },
        { name: "ada", key: keyOf(team, "ada") },
      ],
      looked: ["the work tree", "HEAD", "the cluster c"],
    });
    expect(JSON.stringify(planned)).not.toContain("AGE-SECRET-KEY");
    expect(await text()).toBe(keyring(team, "newcomer", "cluster-live", "ada"));
    await planned.apply();
    expect(await text()).toBe(keyring(team, "cluster-live"));
    const calls = await readFile(join(directory, "calls"), "utf8");
    expect(calls).toMatch(/^replace \S+ --filename - --context c /m);
    expect(calls).not.toContain("AGE-SECRET-KEY");
    expect(calls).not.toContain(Buffer.from(keyring(team, "cluster-live")).toString("base64"));
    expect((await plan()).gone).toEqual([]);
  });

  it("is not one that a SopsSecret there still needs, whatever Git has by now", async () => {
    const { team, directory, plan } = await cluster("newcomer", "cluster-live");
    await write(directory, { "sealed.json": sealedFor(keyOf(team, "newcomer")) });
    await expect(plan()).rejects.toThrow(
      `shop/payment in the cluster c is sealed for ${keyOf(team, "newcomer")}, and for no key that stays`,
    );
  });

  it("is not the last one, nor one of a cluster that has none", async () => {
    for (const names of [["newcomer"], []])
      await expect((await cluster(...names)).plan()).rejects.toThrow(
        "c has no key that .sops.yaml names for live",
      );
  });

  it("stays when somebody else was faster", async () => {
    const { team, directory, plan, text } = await cluster("newcomer", "cluster-live");
    const planned = await plan();
    await write(directory, { changed: "" });
    await expect(planned.apply()).rejects.toThrow(
      /^c: kubectl replace failed: Error from server \(Conflict\)/,
    );
    expect(await text()).toBe(keyring(team, "newcomer", "cluster-live"));
  });
});
