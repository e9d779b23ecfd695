import { X509Certificate } from "node:crypto";
import { mkdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createIdentity } from "../../../scripts/lib/secrets/keys/age.ts";
import {
  makeEnvironments,
  parseRecipient,
  writeEnvironment,
} from "../../../scripts/lib/secrets/keys/init.ts";
import { parseRules } from "../../../scripts/lib/secrets/keys/recipients.ts";
import { commit, git, temporary, write } from "../../support/tree.ts";
import { COMMENT, FILES, type Fixture, filesOf, programs, sealedRepository } from "./keys-support.ts";

/** As this repository is published. */
async function fork(): Promise<Fixture> {
  const team = await sealedRepository({
    dev: ["example-dev"],
    test: ["example-test"],
    live: ["example-live"],
  });
  const { ageKeygen } = await programs();
  for (const name of ["ours", "theirs"]) team.keys.set(name, await createIdentity(ageKeygen));
  return team;
}

function keyOf({ keys }: Fixture, name: string): string {
  return keys.get(name)?.recipient ?? "";
}

/** A user with nothing but a home. */
async function user(team: Fixture): Promise<{ env: NodeJS.ProcessEnv; file: string }> {
  const config = await temporary();
  const { SOPS_AGE_KEY_FILE: _, ...env } = await team.envWith();
  return { env: { ...env, XDG_CONFIG_HOME: config }, file: join(config, "sops/age/keys.txt") };
}

function changedFiles(before: Map<string, string>, after: Map<string, string>): string[] {
  return [...after].filter(([path, text]) => before.get(path) !== text).map(([path]) => path);
}

describe("a fork's first environment", () => {
  it("gets a key among the user's own and new values, and the others stay as they are", async () => {
    const team = await fork();
    const hosts = "kind: ConfigMap\ndata:\n  api: api.dev\n";
    await write(team.root, { "overlays/dev/disk/hosts.yaml": hosts });
    const before = await filesOf(team.root);
    const old = await team.openWith("example-dev", "dev");
    const { env, file } = await user(team);
    const result = await team.command("init", ["--only", "dev"], env);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    const after = await filesOf(team.root);
    const changed = changedFiles(before, after);
    expect(changed).toHaveLength(FILES + 1);
    expect(changed.filter((path) => !path.startsWith("overlays/dev/"))).toEqual([".sops.yaml"]);

    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const identity = /^AGE-SECRET-KEY-\S+$/m.exec(await readFile(file, "utf8"))?.[0] ?? "";
    const recipient = /^ {2}team-dev (age1\S+)$/m.exec(result.stdout)?.[1] ?? "";
    team.keys.set("team-dev", { identity, recipient });
    const values = await team.openWith("team-dev", "dev");
    expect([...values.keys()]).toEqual([...old.keys()]);
    const same = [...values].filter(([key, value]) => old.get(key) === value).map(([key]) => key);
    expect(same).toEqual(["database.sops.yaml username", "web-database.sops.yaml username"]);
    expect(values.get("web-database.sops.yaml password")).toBe(values.get("database.sops.yaml password"));
    expect(values.get("database.sops.yaml password")).toMatch(/^[A-Za-z0-9]{32}$/);
    const certificate = new X509Certificate(values.get("disk-tls.sops.yaml tls.crt") ?? "");
    expect(certificate.subjectAltName).toBe("DNS:api.dev.shop.acme.dev");

    const all = [...after.values(), result.stdout].join("\n");
    expect(all).toContain(recipient);
    expect(all).not.toContain("AGE-SECRET-KEY-");
    const secret = [...values].filter(([key]) => !same.includes(key)).map(([, value]) => value);
    expect(secret.filter((value) => all.includes(value))).toEqual([]);
  });

  it("says which values a person has to bring, and what the cluster lacks", async () => {
    const team = await fork();
    const { stdout } = await team.command("init", ["--only", "dev"], (await user(team)).env);
    expect(stdout).toContain("npm run seal -- dev web --secret payment api-key    # the provider's console");
    expect(stdout).toContain(
      "npm run seal -- dev disk --secret disk-tls --from-file tls.crt=FILE --from-file tls.key=FILE    # the authority",
    );
    expect(stdout).toContain(
      "dev's cluster cannot read them yet: npm run keys create dev -- --to-cluster <context>",
    );
    expect(stdout).toContain("Commit .sops.yaml and overlays");
    const payment = (await filesOf(team.root)).get("overlays/dev/web/payment.sops.yaml");
    expect(payment).toContain("ecommerce-gitops/placeholder: api-key\n");
  });

  it("what a person brings comes by the command that is printed, here and by the audit, without a private key", async () => {
    const team = await fork();
    const { stdout } = await team.command("init", ["--only", "dev"], (await user(team)).env);
    const path = "overlays/dev/disk/disk-tls.sops.yaml";
    const printed = /^ {2}npm run seal -- (dev disk .*?) {4}#/m.exec(stdout)?.[1] ?? "";
    const nobody = await team.envWith();
    const audit = async () => (await team.command("secrets", [], nobody)).stdout;
    expect(await audit()).toContain(
      `${path}:11: note: tls.crt, tls.key are placeholders; bring the real values: npm run seal -- ${printed}\n`,
    );
    const files = await temporary();
    await write(files, { "tls.crt": "certificate\n", "tls.key": "key\n" });
    const args = printed.replaceAll(/(\S+)=FILE/g, `$1=${files}/$1`).split(" ");
    expect(await team.command("seal", args, nobody)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await audit()).not.toContain(`${path}:`);
  });

  it("adds its key to those that the user has", async () => {
    const team = await fork();
    const { env, file } = await user(team);
    await write(join(file, ".."), { "keys.txt": "AGE-SECRET-KEY-1MINE\n" });
    expect((await team.command("init", ["--only", "dev"], env)).exitCode).toBe(0);
    expect(await readFile(file, "utf8")).toMatch(
      /^AGE-SECRET-KEY-1MINE\n# public key: \S+\nAGE-SECRET-KEY-1\S+\n$/,
    );
  });
});

describe("a fork's other environments", () => {
  it("are sealed for the recipients that were given, and what is real already is left alone", async () => {
    const team = await fork();
    const { env, file } = await user(team);
    const args = (environment: string, ...keys: string[]) =>
      keys.flatMap((key, index) => [
        "--recipient",
        `${environment}${index === 0 ? "" : "/break-glass"}=${key}`,
      ]);
    const given = [...args("test", keyOf(team, "ours")), "--recipient", `dev=${keyOf(team, "theirs")}`];
    expect((await team.command("init", [...given, "--only", "dev", "--only", "test"], env)).exitCode).toBe(0);
    await expect(stat(file)).rejects.toThrow("ENOENT");
    const text = (await filesOf(team.root)).get(".sops.yaml") ?? "";
    expect(text).toContain(COMMENT);
    expect(parseRules(text).map(({ recipients }) => recipients.map(({ name }) => name))).toEqual([
      ["cluster-dev"],
      ["cluster-test"],
      ["example-live"],
    ]);
    const before = await filesOf(team.root);
    const last = await team.command(
      "init",
      args("live", keyOf(team, "newcomer"), keyOf(team, "example-dev")),
      env,
    );
    expect(last.exitCode).toBe(0);
    const changed = changedFiles(before, await filesOf(team.root));
    expect(changed.filter((path) => !path.startsWith("overlays/live/"))).toEqual([".sops.yaml"]);
    const values = await team.openWith("newcomer", "live");
    expect(values.size).toBeGreaterThan(0);
    expect(await team.openWith("example-dev", "live")).toEqual(values);

    await commit(team.root);
    const again = await team.command("init", [], env);
    expect(again).toMatchObject({ exitCode: 3, stdout: "" });
    expect(again.stderr).toContain("init: dev, test, live: the keys are your own already; `npm run keys`");
  });

  it("can be made without any rules, as when a team has begun its own `.sops.yaml`", async () => {
    const team = await fork();
    await rm(join(team.root, ".sops.yaml"));
    await commit(team.root);
    const { env } = await user(team);
    const args = ["--only", "test", "--recipient", `test=${keyOf(team, "ours")}`];
    expect((await team.command("init", args, env)).exitCode).toBe(0);
    expect((await team.openWith("ours", "test")).size).toBeGreaterThan(0);
  });
});

describe("what is refused", () => {
  interface Case {
    args: (team: Fixture) => string[];
    spoil?: (root: string) => Promise<void>;
    exitCode: number;
    says: string | RegExp;
  }
  const all = (team: Fixture) => [
    "--recipient",
    `test=${keyOf(team, "ours")}`,
    "--recipient",
    `live=${keyOf(team, "theirs")}`,
  ];
  const cases: [string, Case][] = [
    [
      "an environment that nobody is to read",
      {
        args: () => [],
        exitCode: 2,
        says: "nobody is to read test; give it --recipient test=<age1…> or --to-cluster test=<context>",
      },
    ],
    [
      "an unknown environment",
      { args: () => ["--only", "prd"], exitCode: 2, says: 'there is no environment "prd"' },
    ],
    [
      "a recipient of an unknown environment",
      {
        args: (team) => ["--recipient", `prd=${keyOf(team, "ours")}`],
        exitCode: 2,
        says: 'there is no environment "prd"',
      },
    ],
    [
      "half a recipient",
      {
        args: () => ["--only", "test", "--recipient", "test=age1half"],
        exitCode: 2,
        says: "age1half is not a recipient of age",
      },
    ],
    [
      "one key for two environments' clusters",
      {
        args: (team) =>
          all(team).map((argument) => argument.replace(keyOf(team, "theirs"), keyOf(team, "ours"))),
        exitCode: 3,
        says: /age1\S+ is cluster-test already/,
      },
    ],
    [
      "a recipient that would be lost",
      {
        args: (team) => ["--only", "dev", ...all(team)],
        exitCode: 3,
        says: "test gets readers, but is not among --only",
      },
    ],
    [
      "a key file in the repository",
      {
        args: (team) => [...all(team), "--dev-key-file", join(team.root, "keys.txt")],
        exitCode: 3,
        says: "would be in the Git work tree",
      },
    ],
    [
      "a file that nobody could open any longer",
      {
        args: all,
        spoil: async (root) => write(root, { "overlays/live/web/old.sops.yaml": "a: 1\n" }),
        exitCode: 3,
        says: "overlays/live/web/old.sops.yaml is of no credential",
      },
    ],
  ];
  it.each(cases)("is %s, in one line, and nothing changes", async (_, { args, spoil, exitCode, says }) => {
    const team = await fork();
    await spoil?.(team.root);
    if (spoil !== undefined) await commit(team.root);
    const before = await filesOf(team.root);
    const { env, file } = await user(team);
    const result = await team.command("init", args(team), env);
    expect(result.stderr).toMatch(says);
    expect(result.stderr.trim().split("\n")).toHaveLength(1);
    expect(result).toMatchObject({ exitCode, stdout: "" });
    expect(await filesOf(team.root)).toEqual(before);
    await expect(stat(file)).rejects.toThrow("ENOENT");
  });

  it("is to lose what was sealed and not committed", async () => {
    const team = await fork();
    const path = "overlays/dev/web/payment.sops.yaml";
    await write(team.root, { [path]: `${(await filesOf(team.root)).get(path)}\n` });
    const { stderr } = await team.command("init", ["--only", "dev"], (await user(team)).env);
    expect(stderr).toContain(`${path} has changes that are not committed`);
  });

  it("is nothing in a dry run, which changes nothing", async () => {
    const team = await fork();
    const before = await filesOf(team.root);
    const { env, file } = await user(team);
    const { stdout } = await team.command("init", ["--only", "dev", "--dry-run"], env);
    expect(stdout).toBe(`not done: dev would be sealed with new values for team-dev, a new key in ${file}\n`);
    expect(await filesOf(team.root)).toEqual(before);
    await expect(stat(file)).rejects.toThrow("ENOENT");
  });
});

it("an environment whose making ends half-way is still the example's, and is made anew", async () => {
  const team = await fork();
  const { sops, ageKeygen } = await programs();
  const text = (await filesOf(team.root)).get(".sops.yaml") ?? "";
  const make = async () => {
    const [environment] = await makeEnvironments(
      team.root,
      { sops: { path: sops, env: await team.envWith() }, ageKeygen },
      { text, rules: parseRules(text) },
      [{ environment: "test", given: [{ name: "cluster-test", key: keyOf(team, "ours") }], made: [] }],
      "shop.acme.dev",
    );
    if (environment === undefined) throw new Error("nothing was made");
    return environment;
  };
  const made = await make();
  const last = made.files.at(-1)?.path ?? "";
  await rm(join(team.root, last));
  await mkdir(join(team.root, last, "in-the-way"), { recursive: true });
  await expect(writeEnvironment(team.root, made)).rejects.toThrow(last);
  const half = await filesOf(team.root);
  expect(half.get(made.files[0]?.path ?? "")).toBe(made.files[0]?.text);
  expect(half.get(".sops.yaml")).toBe(text);

  await rm(join(team.root, last), { recursive: true });
  await git(team.root, "restore", ".");
  const again = await make();
  await writeEnvironment(team.root, again);
  expect((await team.openWith("ours", "test")).size).toBeGreaterThan(0);
});

describe("a recipient that is given", () => {
  it.each([
    ["prod=age1x", { environment: "prod", name: "cluster-prod", key: "age1x" }],
    ["prod/break-glass=age1x", { environment: "prod", name: "break-glass", key: "age1x" }],
  ])("is %s", (argument, parsed) => {
    expect(parseRecipient(argument)).toEqual(parsed);
  });
  it.each(["prod", "=age1x", "prod=", "prod/=age1x", "a/b/c=age1x"])("is not %s", (argument) => {
    expect(() => parseRecipient(argument)).toThrow("is not <environment>=<age1…>");
  });
});
