/**
 * The database of the tree in a real PostgreSQL: as its image begins it, with the tree's own configuration, scripts, probes and
 * shutdown; then dumped, destroyed and restored as the runbook says.
 */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import getPort from "get-port";
import { afterAll, describe, expect, it } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { ofKind, podTemplates } from "../../../scripts/lib/manifests/manifest.ts";
import { enter, type Pod, type RunningContainer } from "../../support/container.ts";
import { metricsExported, metricsUsed } from "../../support/metrics.ts";
import { postgresqlPrograms } from "../../support/store-programs.ts";
import { ROOT, renderOverlay } from "../../tree/support.ts";

/** Short: the path of a socket has a limit. */
const directory = await mkdtemp("/tmp/pg-");
const port = String(await getPort({ host: "127.0.0.1" }));
const overlays = ["postgresql", "postgresql-backup", "monitoring"].map(async (app) =>
  renderOverlay("dev", app),
);
const manifests = (await Promise.all(overlays)).flatMap((overlay) => overlay.manifests);
const monitoring = (await overlays[2])?.manifests ?? [];
const secrets = {
  // Letters and digits, as the catalogue generates them: postgres_exporter 0.19.1 cannot sign in with a quote in the password.
  database: { username: "ecommerce_app", password: "Letters4nd5Digits" },
  "database-backup": { username: "ecommerce_backup", password: 'it\'s "another" \\one' },
};
const volumes = {
  data: join(directory, "data"),
  run: join(directory, "run"),
  tmp: join(directory, "tmp"),
  shm: join(directory, "shm"),
  "postgresql-backup": join(directory, "backup"),
};

/** PostgreSQL does not run as root: then a user without a name runs it, who has to reach the programs. */
const isRoot = process.getuid?.() === 0;
const user = isRoot ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [];
const image = await postgresqlPrograms();
const programs = image === undefined ? "" : await programsFor(image);

async function programsFor(bin: string): Promise<string> {
  if (!isRoot) return bin;
  await run("cp", ["-r", join(bin, "../../.."), join(directory, "programs")]);
  return join(directory, "programs", ...bin.split("/").slice(-3));
}

/** A container of a pod of the tree, by the names of both. */
async function container(
  owner: string,
  name: string,
  override: Record<string, string> = {},
): Promise<RunningContainer> {
  const template = podTemplates(manifests).find((candidate) => candidate.owner.metadata.name === owner);
  const found = [...(template?.spec.initContainers ?? []), ...(template?.spec.containers ?? [])].find(
    (candidate) => candidate.name === name,
  );
  if (template === undefined || found === undefined) throw new Error(`the tree has no ${owner} with ${name}`);
  const edit = (text: string) => text.replaceAll("5432", port);
  const pod: Pod = { spec: template.spec, namespace: "data", manifests, secrets, volumes, directory, edit };
  return enter(pod, found, { programs, user, override });
}

const address = { PGHOST: "127.0.0.1", PGPORT: port };
const server = await container("postgresql", "postgresql", { PGPORT: port, PGHOST: volumes.run });
const main = ofKind(manifests, "StatefulSet")[0]?.spec.template.spec.containers[0];
if (main === undefined) throw new Error("the tree has no PostgreSQL");

/** Runs a command of the database's container that has to succeed. */
async function inServer(command: readonly string[], input?: string): Promise<string> {
  const { exitCode, stdout, stderr } = await server.run(command, input);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout;
}

/** SQL of a role over TCP, as a service speaks to the database. */
async function sql(text: string, { username, password } = secrets.database) {
  const env = { ...process.env, ...address, PGUSER: username, PGPASSWORD: password, PGDATABASE: "ecommerce" };
  return run(
    join(programs, "psql"),
    ["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", text],
    { env },
  );
}

async function start(options: string): Promise<void> {
  await inServer([
    "pg_ctl",
    "start",
    "--silent",
    "--wait",
    "--log=/tmp/log",
    "--pgdata=/var/lib/postgresql/data/pgdata",
    `--options=${options}`,
  ]);
}
const LOOPBACK = `-c unix_socket_directories=/var/run/postgresql -p ${port} -c listen_addresses=`;

/** What the image's entrypoint does: an empty data directory is initialised, init.sql runs over the socket; then the server starts. */
async function begin(): Promise<void> {
  for (const path of Object.values(volumes)) await mkdir(path, { recursive: true });
  await chmod(volumes.data, 0o700);
  if (isRoot) await run("chown", ["-R", "65534:65534", directory]);
  if (!(await readdir(volumes.data)).includes("pgdata")) {
    const args =
      (main?.env ?? []).find(({ name }) => name === "POSTGRES_INITDB_ARGS")?.value?.split(" ") ?? [];
    await inServer([
      "initdb",
      "--username=postgres",
      "--pwfile=/etc/postgresql/credentials/password",
      "--pgdata=/var/lib/postgresql/data/pgdata",
      ...args,
    ]);
    await start(LOOPBACK);
    await inServer([
      "psql",
      "--username=postgres",
      "--dbname=postgres",
      "--command=CREATE DATABASE ecommerce",
    ]);
    await inServer([
      "psql",
      "--username=postgres",
      "--dbname=ecommerce",
      "--set=ON_ERROR_STOP=1",
      "--file=/docker-entrypoint-initdb.d/init.sql",
    ]);
    await inServer(["pg_ctl", "stop", "--silent", "--wait", "--pgdata=/var/lib/postgresql/data/pgdata"]);
  }
  await start(`${(main?.args ?? []).join(" ")} ${LOOPBACK}127.0.0.1`);
  await inServer(main?.lifecycle?.postStart?.exec?.command ?? []);
}

const stop = main.lifecycle?.preStop?.exec?.command ?? [];
const PROBES = [
  ["startup", main.startupProbe],
  ["liveness", main.livenessProbe],
  ["readiness", main.readinessProbe],
] as const;
const codeOf = async (command: readonly string[] = []) => (await server.run(command)).exitCode;

const FILL = `
CREATE TABLE users (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, profile jsonb, since timestamptz NOT NULL);
CREATE TABLE orders (id uuid PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, total numeric(12,2), receipt bytea, tags text[]);
CREATE INDEX orders_by_user ON orders (user_id);
CREATE VIEW spent AS SELECT user_id, sum(total) AS total FROM orders GROUP BY user_id;
INSERT INTO users (email, profile, since)
SELECT 'user' || n || '@example.com', jsonb_build_object('name', 'Zoë "' || n || '"', 'n', n), timestamptz '2026-01-01' + n * interval '1 hour'
FROM generate_series(1, 2000) AS n;
INSERT INTO orders
SELECT gen_random_uuid(), 1 + n % 2000, n / 7.0, sha256(n::text::bytea), ARRAY['a' || n, NULL, E'tab\\tnew\\nline']
FROM generate_series(1, 20000) AS n;`;

/** Every row of everything that the services' role owns, and where its sequences stand. */
async function rows(): Promise<Record<string, string>> {
  const list = await sql(
    "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S') ORDER BY 1",
  );
  const texts = list
    .trim()
    .split("\n")
    .map(async (line) => {
      const [name = "", kind] = line.split("|");
      // Of a sequence not log_cnt, which is about PostgreSQL's own log.
      return [
        name,
        await sql(`SELECT ${kind === "S" ? "last_value, is_called" : "*"} FROM ${name} ORDER BY 1`),
      ];
    });
  return Object.fromEntries(await Promise.all(texts));
}

const backups = async () => (await readdir(volumes["postgresql-backup"])).sort();
const backUp = async () => {
  const one = await container("postgresql-backup", "backup", address);
  return one.run(["sh", "/etc/postgresql-backup/backup.sh"]);
};

/** The commands of the runbook, in their order. */
async function runbook(): Promise<string[]> {
  const text = await readFile(join(ROOT, "docs/runbooks/restore-postgresql.md"), "utf8");
  return [...text.matchAll(/^( *)```sh\n([\s\S]*?)^ *```$/gm)].map(([, indent = "", block = ""]) =>
    block.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  );
}

/** A kubectl for which the database's pod and the restore's Job are here; it knows the commands of the runbook and no others. */
async function kubectl(): Promise<string> {
  const job = await container("postgresql-restore", "restore", address);
  const quoted = (values: Record<string, string>) =>
    Object.entries(values)
      .map(([key, value]) => `${key}='${value.replaceAll("'", "'\\''")}'`)
      .join(" ");
  const log = join(directory, "job.log");
  const restore = `env ${quoted(job.env)} sh ${job.placed("/etc/postgresql-backup/restore.sh")}`;
  const script = `#!/bin/sh
case "$*" in
  "--context prod -n data exec "*" -c postgresql -- "*)
    until [ "$1" = -- ]; do shift; done; shift
    exec env ${quoted(server.env)} "$@" ;;
  "--context prod -n data create job restore-1 --from=cronjob/postgresql-restore") ${restore} > ${log} 2>&1; echo $? > ${log}.code ;;
  "--context prod -n data wait --for=condition=complete "*" job/restore-1") exit "$(cat ${log}.code)" ;;
  "--context prod -n data logs job/restore-1") cat ${log} ;;
  "--context prod -n data delete job restore-1") rm ${log} ;;
  *) echo "kubectl $*: not known here" >&2; exit 1 ;;
esac
`;
  const path = join(directory, "bin");
  await mkdir(path, { recursive: true });
  await writeFile(join(path, "kubectl"), script, { mode: 0o755 });
  return path;
}

afterAll(async () => {
  await server.run(["pg_ctl", "stop", "--mode=immediate", "--pgdata=/var/lib/postgresql/data/pgdata"]);
  await rm(directory, { recursive: true, force: true });
});

// One database, from its beginning to its end: each part goes on from the one before.
describe.skipIf(image === undefined)("PostgreSQL with the tree's configuration", { sequential: true }, () => {
  it("begins, and is ready by its own probes", async () => {
    await begin();
    expect(await inServer(["postgres", "--version"])).toContain(" 16.");
    for (const [name, probe] of PROBES) expect([name, await codeOf(probe?.exec?.command)]).toEqual([name, 0]);
    const settings = await sql(
      "SELECT current_setting('max_connections'), current_setting('shared_buffers'), current_setting('data_checksums')",
    );
    expect(settings.trim()).toBe("400|1GB|on");
  });

  it("lets the services' role in with its password, and nobody else over the network", async () => {
    expect(await sql("SELECT current_user")).toContain("ecommerce_app");
    await expect(sql("SELECT 1", { ...secrets.database, password: "wrong" })).rejects.toThrow(
      "authentication failed",
    );
    await expect(
      sql("SELECT 1", { username: "postgres", password: secrets.database.password }),
    ).rejects.toThrow("authentication failed");
  });

  it("takes a new password of a Secret when it starts again", async () => {
    await sql("ALTER ROLE ecommerce_app PASSWORD 'older'");
    await inServer(main.lifecycle?.postStart?.exec?.command ?? []);
    expect(await sql("SELECT 1")).toContain("1");
  });

  it("has a role for the backup that reads everything and changes nothing", async () => {
    await sql(FILL);
    const backup = secrets["database-backup"];
    expect(await sql("SELECT count(*) FROM orders", backup)).toContain("20000");
    const refused = [
      "DELETE FROM orders",
      "SET default_transaction_read_only = off; DELETE FROM orders",
      "CREATE TABLE mine (n int)",
    ];
    for (const text of refused)
      await expect(sql(text, backup)).rejects.toThrow(/read-only|permission denied/);
  });

  it("exports every metric that rules and dashboards ask for", async () => {
    const used = metricsUsed(monitoring, "pg");
    const exporter = await container("postgresql", "exporter");
    const exported = await metricsExported("postgres_exporter", exporter.env);
    expect(used).toContain("pg_up");
    expect(used.filter((name) => !exported.has(name))).toEqual([]);
  });

  it("is dumped: a dump counts when it is complete, and old ones go", async () => {
    const claim = volumes["postgresql-backup"];
    const old = "ecommerce-2026-01-01T013000Z.dump";
    await writeFile(join(claim, old), "");
    await utimes(join(claim, old), 0, 0);
    await writeFile(join(claim, "ecommerce-2026-01-02T013000Z.dump.part"), "half");
    const { exitCode, stdout, stderr } = await backUp();
    expect([exitCode, stderr]).toEqual([0, ""]);
    const [dump, ...more] = await backups();
    expect(more).toEqual([]);
    expect(stdout).toContain(`${dump}: `);
    const upload = await container("postgresql-backup", "upload");
    expect(await upload.run(["sh", "/etc/postgresql-backup/upload.sh"])).toMatchObject({
      exitCode: 0,
      stdout: "no bucket: the dumps are on the claim only\n",
    });
  });

  it("leaves no dump behind that is not good", async () => {
    const before = await backups();
    const wrong = await container("postgresql-backup", "backup", { ...address, PGPASSWORD: "wrong" });
    const { exitCode } = await wrong.run(["sh", "/etc/postgresql-backup/backup.sh"]);
    expect(exitCode).not.toBe(0);
    expect((await backups()).filter((name) => name.endsWith(".dump"))).toEqual(before);
  });

  it("stops at once and cleanly, with a client that is in the middle of something; then no probe says that it is ready", async () => {
    const client = sql("SELECT pg_sleep(600)").catch((error: Error) => JSON.stringify(error.cause));
    const isBusy = async () =>
      (await sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")).trim();
    await expect.poll(isBusy).not.toBe("0");
    await inServer(stop);
    expect(await client).toContain("terminating connection");
    expect(await inServer(["pg_controldata", "/var/lib/postgresql/data/pgdata"])).toMatch(
      /cluster state: +shut down\n/,
    );
    for (const [name, probe] of PROBES)
      expect([name, await codeOf(probe?.exec?.command)]).not.toEqual([name, 0]);
  });

  it("comes back from its dump as the runbook says, row by row, after its disk was lost", async () => {
    await begin();
    const before = await rows();
    await inServer(stop);
    await rm(join(volumes.data, "pgdata"), { recursive: true });
    await begin();
    expect(await sql("SELECT count(*) FROM pg_class WHERE relname = 'orders'")).toContain("0");

    const env = { ...process.env, PATH: `${await kubectl()}:${process.env["PATH"]}` };
    const commands = await runbook();
    expect(commands).toHaveLength(5);
    const said = [];
    for (const command of commands) said.push(await run("sh", ["-ec", command], { env }));
    expect(said.join("\n")).toMatch(/^ecommerce-\S+\.dump is in ecommerce_restored$/m);
    const after = await rows();
    expect(Object.keys(after)).toEqual(["orders", "spent", "users", "users_id_seq"]);
    expect(after).toEqual(before);
    // Everything is the services' again, and they can go on.
    await sql("INSERT INTO users (email, since) VALUES ('next@example.com', now())");
    await expect(sql("INSERT INTO orders VALUES (gen_random_uuid(), 0)")).rejects.toThrow(
      "is not present in table",
    );
    expect((await backUp()).exitCode).toBe(0);
  });
});
