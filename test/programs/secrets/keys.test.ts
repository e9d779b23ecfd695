import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createIdentity } from "../../../scripts/lib/secrets/keys/age.ts";
import { createKey } from "../../../scripts/lib/secrets/keys/new-key.ts";
import { commit, temporary, write } from "../../support/tree.ts";
import { COMMENT, FILES, type Fixture, filesOf, programs, sealedRepository } from "./keys-support.ts";

const READERS = { dev: ["cluster-dev", "ada"], test: ["cluster-test", "ada"], live: ["cluster-live"] };

function keyOf({ keys }: Fixture, name: string): string {
  return keys.get(name)?.recipient ?? "";
}

describe("the table of readers", () => {
  it("says who can read what, and which files others can read than the rules say", async () => {
    const team = await sealedRepository(READERS);
    const env = await team.envWith();
    const fresh = await team.command("keys", ["--json"], env);
    expect(JSON.parse(fresh.stdout)).toEqual({
      readers: [
        { name: "cluster-dev", key: keyOf(team, "cluster-dev"), environments: ["dev"], files: FILES },
        { name: "ada", key: keyOf(team, "ada"), environments: ["dev", "test"], files: 2 * FILES },
        { name: "cluster-test", key: keyOf(team, "cluster-test"), environments: ["test"], files: FILES },
        { name: "cluster-live", key: keyOf(team, "cluster-live"), environments: ["live"], files: FILES },
      ],
      stale: [],
    });
    const text = (await filesOf(team.root)).get(".sops.yaml") ?? "";
    await write(team.root, { ".sops.yaml": text.replace("          - *ada\n", "") });
    const { stdout } = await team.command("keys", [], env);
    expect(stdout).toMatch(/^overlays\/dev\/web\/payment\.sops\.yaml +- +ada$/m);
    expect(stdout).not.toMatch(/^overlays\/test/m);
  });

  it("says that nobody has the example's keys", async () => {
    const team = await sealedRepository({ ...READERS, live: ["example-live"] });
    const { stdout } = await team.command("keys", [], await team.envWith());
    expect(stdout).toContain("live: sealed for the example, whose keys nobody has.");
  });
});

describe("a reader more", () => {
  it("can read every file of the environment, and none of another one", async () => {
    const team = await sealedRepository(READERS);
    const before = await filesOf(team.root);
    const values = await team.openWith("ada", "dev");
    const result = await team.command(
      "keys",
      ["add", "dev", "newcomer", keyOf(team, "newcomer")],
      await team.envWith("ada"),
    );
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    for (const name of ["newcomer", "ada", "cluster-dev"])
      expect(await team.openWith(name, "dev")).toEqual(values);
    const after = await filesOf(team.root);
    expect(after.get(".sops.yaml")).toContain(COMMENT);
    const changed = [...after].filter(([path, text]) => before.get(path) !== text).map(([path]) => path);
    expect(changed).toHaveLength(FILES + 1);
    expect(changed.filter((path) => !path.startsWith("overlays/dev/"))).toEqual([".sops.yaml"]);
    expect([...after.keys()]).toEqual([...before.keys()]);
  });

  it("changes nothing the second time", async () => {
    const team = await sealedRepository(READERS);
    const before = await filesOf(team.root);
    const args = ["add", "dev,test", "ada", keyOf(team, "ada")];
    const { stdout } = await team.command("keys", args, await team.envWith());
    expect(stdout).toBe("unchanged: ada can read dev, test already\n");
    expect(await filesOf(team.root)).toEqual(before);
  });

  it("is only announced without a private key, and let in where there is one", async () => {
    const team = await sealedRepository(READERS);
    const args = ["add", "test", "newcomer", keyOf(team, "newcomer")];
    const later = await team.command("keys", [...args, "--later"], await team.envWith());
    expect(later.stdout).toContain("changed: .sops.yaml and 0 files");
    await expect(team.openWith("newcomer", "test")).rejects.toThrow("no private key here");
    await commit(team.root);
    expect((await team.command("keys", args, await team.envWith("ada"))).exitCode).toBe(0);
    expect((await team.openWith("newcomer", "test")).size).toBeGreaterThan(0);
  });
});

describe("a reader less", () => {
  it("cannot read a file any longer, which has a new data key and the same values", async () => {
    const team = await sealedRepository(READERS);
    const before = await filesOf(team.root);
    const values = await team.openWith("ada", "dev");
    const { exitCode } = await team.command("keys", ["remove", "dev,test", "ada"], await team.envWith("ada"));
    expect(exitCode).toBe(0);
    for (const environment of ["dev", "test"])
      await expect(team.openWith("ada", environment)).rejects.toThrow("no private key here");
    expect(await team.openWith("cluster-dev", "dev")).toEqual(values);
    const after = await filesOf(team.root);
    expect(after.get(".sops.yaml")).not.toContain("ada\n");
    const cipher = (text = "") => /(api-key|password|tls\.key): .*/.exec(text)?.[0];
    const resealed = [...after].filter(([path]) => /overlays\/(dev|test)\/.*\.sops\.yaml/.test(path));
    expect(resealed).toHaveLength(2 * FILES);
    for (const [path, text] of resealed) {
      expect(cipher(text)).toContain("ENC[");
      expect(cipher(text)).not.toBe(cipher(before.get(path)));
    }
  });

  it("leaves a list of the real values that must change, each with how", async () => {
    const team = await sealedRepository(READERS);
    const payment = "overlays/dev/web/payment.sops.yaml";
    const text = (await filesOf(team.root)).get(payment) ?? "";
    const key = text.replace(
      / *annotations:\n( {8}argocd.*\n)?( .*placeholder.*\n)/m,
      "    annotations:\n$1",
    );
    await write(team.root, { [payment]: key.replace(/ *ecommerce-gitops\/placeholder: .*\n/, "") });
    await commit(team.root);
    const args = ["remove", "dev", "ada", "--dry-run"];
    const { stdout } = await team.command("keys", args, await team.envWith("ada"));
    expect(stdout).toContain("Git's history keeps the old files");
    // The same key of the provider may be sealed for others.
    expect(stdout).toContain("What a person has brought may be in other environments, too");
    const rows = stdout.split("\n").flatMap((line) => (line.startsWith("dev ") ? [line.split(/ {2,}/)] : []));
    expect(rows).toEqual([
      [
        "dev",
        "disk/database",
        "password",
        "generated",
        "npm run seal -- --generate dev disk --secret database",
      ],
      ["dev", "web/payment", "salt", "generated", "npm run seal -- --generate dev web --secret payment salt"],
      [
        "dev",
        "web/payment",
        "api-key",
        "the provider's console",
        "npm run seal -- dev web --secret payment api-key",
      ],
    ]);
  });
});

describe("what is refused", () => {
  interface Case {
    args: (team: Fixture) => string[];
    readers?: Record<string, string[]>;
    has?: string[];
    spoil?: (root: string) => Promise<void>;
    exitCode: number;
    says: string | RegExp;
  }
  const PAYMENT = "overlays/dev/web/payment.sops.yaml";
  const newcomer = (team: Fixture) => ["add", "dev", "newcomer", keyOf(team, "newcomer")];
  const cases: [string, Case][] = [
    [
      "an unknown environment",
      {
        args: (team) => ["add", "dev,prd", "x", keyOf(team, "ada")],
        exitCode: 2,
        says: 'there is no environment "prd"; the environments are dev, test, live',
      },
    ],
    [
      "a name with another key",
      {
        args: (team) => ["add", "live", "ada", keyOf(team, "newcomer")],
        exitCode: 3,
        says: "ada has another key in dev: age1",
      },
    ],
    [
      "a key with another name",
      {
        args: (team) => ["add", "dev", "bob", keyOf(team, "cluster-live")],
        exitCode: 3,
        says: "is cluster-live already; one key has one name",
      },
    ],
    [
      "a name of the example's kind",
      {
        args: (team) => ["add", "dev", "example-bob", keyOf(team, "newcomer")],
        exitCode: 2,
        says: "example-bob is not the name of a recipient",
      },
    ],
    [
      "half a public key",
      {
        args: (team) => ["add", "dev", "bob", keyOf(team, "newcomer").slice(0, -1)],
        exitCode: 2,
        says: "is not a recipient of age",
      },
    ],
    [
      "an option in place of a public key",
      {
        args: () => ["add", "dev", "bob", "--", "-o/tmp/x"],
        exitCode: 2,
        says: "-o/tmp/x is not a recipient of age",
      },
    ],
    [
      "an environment of the example",
      {
        args: (team) => ["add", "live", "newcomer", keyOf(team, "newcomer")],
        readers: { ...READERS, live: ["example-live"] },
        exitCode: 3,
        says: "live is sealed for the example, whose key nobody has; make it yours with `npm run init -- --only live --to-cluster live=<context>`",
      },
    ],
    [
      "an environment without a rule",
      {
        args: (team) => ["add", "live", "newcomer", keyOf(team, "newcomer")],
        readers: { dev: ["ada"] },
        exitCode: 3,
        says: ".sops.yaml has no rule for live; make its keys with `npm run init",
      },
    ],
    [
      "no private key here",
      {
        args: newcomer,
        has: ["cluster-live"],
        exitCode: 3,
        says: /no private key here opens overlays\/dev\/\S+; only cluster-dev, ada can: run it/,
      },
    ],
    [
      "a file that was tampered with",
      {
        args: newcomer,
        spoil: async (root) => replaceIn(root, PAYMENT, /(api-key: ENC\[AES256_GCM,data:)./, "$1_"),
        exitCode: 3,
        says: "overlays/dev/web/payment.sops.yaml",
      },
    ],
    [
      "a file that is no YAML",
      {
        args: newcomer,
        spoil: async (root) => replaceIn(root, PAYMENT, /^/, "a: [\n"),
        exitCode: 3,
        says: "overlays/dev/web/payment.sops.yaml:",
      },
    ],
    [
      "a file with a merge conflict",
      {
        args: newcomer,
        spoil: async (root) => replaceIn(root, PAYMENT, /^/, "<<<<<<< HEAD\n"),
        exitCode: 3,
        says: "overlays/dev/web/payment.sops.yaml:1: the marker of a merge conflict",
      },
    ],
    [
      "no rules",
      {
        args: () => [],
        spoil: async (root) => replaceIn(root, ".sops.yaml", /[^]*/, ""),
        exitCode: 3,
        says: ".sops.yaml",
      },
    ],
    [
      "a reader who is none",
      {
        args: () => ["remove", "live", "ada"],
        exitCode: 3,
        says: "ada is no recipient of live; there are cluster-live",
      },
    ],
    [
      "to take the last reader away",
      {
        args: () => ["remove", "live", "cluster-live"],
        exitCode: 3,
        says: "nobody but cluster-live can read live; first add another one",
      },
    ],
    [
      "to take the only cluster away",
      {
        args: () => ["remove", "dev", "cluster-dev"],
        exitCode: 3,
        says: "without cluster-dev no cluster of dev could read its Secrets",
      },
    ],
    [
      "to make a key for no place",
      { args: () => ["create", "dev"], exitCode: 2, says: "where is the private key to go?" },
    ],
    [
      "to make a second key of a name",
      {
        args: () => ["create", "dev", "--to-file", "/tmp/no-such/key"],
        exitCode: 3,
        says: "dev has the key of cluster-dev already; add --replace",
      },
    ],
    [
      "a file for another environment than the first",
      {
        args: () => ["create", "live", "--to-file", "/tmp/no-such/key", "--replace"],
        exitCode: 3,
        says: "a private key of live does not belong in a file",
      },
    ],
    [
      "--json for a change",
      { args: () => ["--json", "remove", "dev", "ada"], exitCode: 2, says: "--json is for the table only" },
    ],
  ];
  it.each(cases)(
    "is %s, in one line, and nothing changes",
    async (_, { args, readers, has, spoil, exitCode, says }) => {
      const team = await sealedRepository(readers ?? READERS);
      await spoil?.(team.root);
      if (spoil !== undefined) await commit(team.root);
      const before = await filesOf(team.root);
      const result = await team.command("keys", args(team), await team.envWith(...(has ?? ["ada"])));
      expect(result.stderr).toMatch(says);
      expect(result.stderr.trim().split("\n")).toHaveLength(1);
      expect(result).toMatchObject({ exitCode, stdout: "" });
      expect(await filesOf(team.root)).toEqual(before);
    },
  );

  it("is a private key in place of the public one, which is not repeated", async () => {
    const team = await sealedRepository(READERS);
    const secret = team.keys.get("newcomer")?.identity ?? "";
    const result = await team.command("keys", ["add", "dev", "bob", secret], await team.envWith("ada"));
    expect(result).toMatchObject({ exitCode: 2, stdout: "" });
    expect(result.stderr).toContain("that is a private key");
    expect(result.stderr).not.toContain(secret.slice(20));
  });

  it("is an option that npm has kept for itself, such as a dry run that would be a real one", async () => {
    const team = await sealedRepository(READERS);
    const env = { ...(await team.envWith("ada")), npm_config_dry_run: "true" };
    const { stderr } = await team.command("keys", ["remove", "dev", "ada"], env);
    expect(stderr).toContain("keys: npm has kept --dry-run for itself");
    expect((await team.openWith("ada", "dev")).size).toBeGreaterThan(0);
  });

  it.each(["add", "remove"])("is to %s beside changes that are not committed", async (verb) => {
    const team = await sealedRepository(READERS);
    await replaceIn(team.root, PAYMENT, /$/, "\n");
    const before = await filesOf(team.root);
    const args = verb === "add" ? newcomer(team) : ["remove", "dev", "ada"];
    const result = await team.command("keys", args, await team.envWith("ada"));
    expect(result.stderr).toBe(
      `keys: ${PAYMENT} has changes that are not committed; commit them first, or take them back with \`git restore\`\n`,
    );
    expect(await filesOf(team.root)).toEqual(before);
  });

  async function replaceIn(root: string, path: string, from: RegExp, to: string): Promise<void> {
    const text = await readFile(join(root, path), "utf8");
    await writeFile(join(root, path), text.replace(from, to));
  }
});

describe("a key for a file", () => {
  it("is added to what it holds, for its owner only, and opens every file; nothing else has it", async () => {
    const team = await sealedRepository(READERS);
    const file = join(await temporary(), "new/deep/keys.txt");
    const args = ["create", "dev", "--to-file", file, "--replace"];
    const env = await team.envWith("ada");
    const outputs = [await team.command("keys", args, env)];
    await commit(team.root);
    outputs.push(await team.command("keys", args, env));
    expect(outputs.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    expect(outputs[1]?.stdout).toMatch(
      /which the old key, should it have leaked, opens for ever\. So these values must change:\nENV .*\ndev +disk\/database +password +generated /,
    );
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(file, ".."))).mode & 0o777).toBe(0o700);
    const identities = [...(await readFile(file, "utf8")).matchAll(/^AGE-SECRET-KEY-\S+$/gm)].map(
      ([key]) => key,
    );
    expect(identities).toHaveLength(2);
    const recipient = /^cluster-dev: (age1\S+)$/m.exec(outputs[1]?.stdout ?? "")?.[1] ?? "";
    team.keys.set("made", { identity: identities[1] ?? "", recipient });
    expect((await team.openWith("made", "dev")).size).toBeGreaterThan(0);
    const all = [...(await filesOf(team.root)).values(), JSON.stringify(outputs)].join("\n");
    expect(all).toContain(recipient);
    expect(all).not.toContain("AGE-SECRET-KEY-");
  });

  it("tightens a file that others can read, and never writes over another kind of file", async () => {
    const { ageKeygen } = await programs();
    const directory = await temporary();
    const file = join(directory, "keys.txt");
    await writeFile(file, "# mine\nAGE-SECRET-KEY-1MINE");
    await chmod(file, 0o644);
    await (await createKey(ageKeygen, "x", { file })).place();
    expect(await readFile(file, "utf8")).toMatch(
      /^# mine\nAGE-SECRET-KEY-1MINE\n# public key: age1\S+\nAGE-SECRET-KEY-1\S+\n$/,
    );
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await writeFile(join(directory, "notes"), "hello\n");
    await expect(createKey(ageKeygen, "x", { file: join(directory, "notes") })).rejects.toThrow(
      "something else",
    );
  });

  it.each(["keys.txt", "not/there/yet/keys.txt", ".git/keys.txt"])(
    "is not written into a Git work tree: %s",
    async (path) => {
      const { ageKeygen } = await programs();
      const root = await temporary();
      await mkdir(join(root, ".git"));
      await expect(createKey(ageKeygen, "x", { file: join(root, path) })).rejects.toThrow(
        "would be in the Git work tree",
      );
    },
  );
});

/** Remembers what it is asked, and keeps one Secret: as a cluster would, without one. */
const KUBECTL = `#!/bin/sh
cd "$(dirname "$0")"
printf '%s ' "$@" >> calls; env >> calls
case "$1" in
get) cat secret.json 2>/dev/null; exit 0 ;;
apply) cat > namespace.json ;;
create) test ! -e secret.json || { echo 'Error: "sops-age-key-file" already exists' >&2; exit 1; }
  test ! -e closed || { echo "denied: $(cat | tr -d '\\n')" >&2; exit 1; }
  sed 's/"name":/"resourceVersion":"7","name":/' > secret.json ;;
replace) sed 's/"resourceVersion":"7"/"resourceVersion":"8"/' > secret.json ;;
esac
`;

describe("a key for a cluster", () => {
  async function cluster(): Promise<{ directory: string; kubectl: string; text: () => Promise<string> }> {
    const directory = await temporary();
    const kubectl = join(directory, "kubectl");
    await writeFile(kubectl, KUBECTL, { mode: 0o755 });
    return {
      directory,
      kubectl,
      text: async () => {
        const secret: { data: { key: string } } = JSON.parse(
          await readFile(join(directory, "secret.json"), "utf8"),
        );
        return Buffer.from(secret.data.key, "base64").toString();
      },
    };
  }

  it("goes through standard input into the Secret that the operator reads, and nowhere else", async () => {
    const { ageKeygen } = await programs();
    const { directory, kubectl, text } = await cluster();
    const key = await createKey(ageKeygen, "cluster-live", {
      cluster: { kubectl, context: "c" },
      replace: false,
    });
    expect((await filesOf(directory)).has("secret.json")).toBe(false);
    await key.place();
    expect(await text()).toMatch(new RegExp(`^# public key: ${key.recipient.key}\nAGE-SECRET-KEY-1\\S+\n$`));
    const secret: unknown = JSON.parse(await readFile(join(directory, "secret.json"), "utf8"));
    expect(secret).toMatchObject({
      metadata: { name: "sops-age-key-file", namespace: "sops-secrets-operator" },
    });
    const calls = await readFile(join(directory, "calls"), "utf8");
    expect(calls).toMatch(/^create \S+ --filename - --context c /m);
    expect(calls).not.toContain("AGE-SECRET-KEY");
    expect(JSON.stringify(key)).not.toContain("AGE-SECRET-KEY");
  });

  it("is refused where there is one, and else stands beside it", async () => {
    const { ageKeygen } = await programs();
    const { kubectl, text } = await cluster();
    const place = { cluster: { kubectl, context: "c" }, replace: false };
    await (await createKey(ageKeygen, "x", place)).place();
    const before = await text();
    await expect(createKey(ageKeygen, "x", place)).rejects.toThrow("c has a key already");
    await (await createKey(ageKeygen, "x", { ...place, replace: true })).place();
    const after = await text();
    expect(after.startsWith(before)).toBe(true);
    expect(after.match(/^AGE-SECRET-KEY-/gm)).toHaveLength(2);
  });

  it("is in no error when the cluster quotes what it denies", async () => {
    const { ageKeygen } = await programs();
    const { directory, kubectl } = await cluster();
    await write(directory, { closed: "" });
    const key = await createKey(ageKeygen, "x", { cluster: { kubectl, context: "c" }, replace: false });
    await expect(key.place()).rejects.toThrow(/^c: kubectl create failed: exit code 1$/);
    await expect(key.place()).rejects.not.toHaveProperty("cause");
  });
});

it("a failing age-keygen is not quoted", async () => {
  const directory = await temporary();
  const program = join(directory, "age-keygen");
  await writeFile(program, "#!/bin/sh\necho AGE-SECRET-KEY-1ABC; exit 3\n", { mode: 0o755 });
  await expect(createIdentity(program)).rejects.toThrow(/^age-keygen has made no key: exit code 3$/);
});
