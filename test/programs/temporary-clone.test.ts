import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { run } from "../../scripts/lib/exec.ts";
import { authorOf } from "../../scripts/lib/git/checkout.ts";
import { withRemote } from "../../scripts/lib/git/remote.ts";
import { type GitServer, serveGit } from "../support/git-server.ts";
import { configured, type Settings, type SettingsWay, WAYS } from "../support/git-settings.ts";
import { commit, git, smallTree, temporary, write } from "../support/tree.ts";

const NOTHING = { GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
const ANN = { name: "Ann", email: "ann@shop.test" };

interface Place {
  /** The checkout. */
  root: string;
  /** The repository, as the server has it. */
  bare: string;
  /** What the server has it under. */
  url: string;
  token: string;
}

/** A checkout, and its repository on the server. What a test does there it takes back. */
let here: Place;
/** What comes of the work where nothing is set. */
let plain: unknown;
let server: GitServer;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "clones-"));
  server = await serveGit(directory);
  here = await publish("main", "sha1");
  plain = await work(here, NOTHING);
  return async () => {
    server.stop();
    await rm(directory, { recursive: true, force: true });
  };
});

/** Makes a checkout of the small tree, and its repository on the server. */
async function publish(name: string, format: string): Promise<Place> {
  const [root, bare] = [join(directory, name), join(directory, `${name}.git`)];
  await write(root, smallTree());
  await git(root, "init", "--quiet", "--initial-branch=main", `--object-format=${format}`);
  await commit(root);
  await git(root, "clone", "--quiet", "--bare", root, bare);
  return { root, bare, url: `${server.url}/${name}.git`, token: server.token };
}

/** Does all that a command does with a temporary clone, and returns what came of it. */
async function work({ root, url, token }: Place, env: Record<string, string>): Promise<unknown> {
  const options = { root, url, token, branch: "main", onInterrupt: () => {} };
  return withRemote({ ...options, env: { ...process.env, ...env } }, async (remote) => {
    await remote.fetch("bump/*");
    const parent = (await remote.tip("main")) ?? "";
    const file = { mode: "100644", text: "a\r\nb\n" };
    const made = await remote.commit({
      parent,
      changes: [{ path: "overlays/dev/web/é.yaml", file }],
      message: (content) => `Über\n\n# ${content}\n`,
      author: ANN,
      date: new Date("2026-11-20T12:00:00Z"),
    });
    await remote.push(made, "bump/x", "none");
    await remote.fetch("bump/*", { history: true });
    const done = {
      commit: made,
      isMerge: await remote.isPlainMerge(made, parent, parent),
      ahead: await remote.ahead("bump/x", "bump/*"),
      read: await remote.read(made, "overlays/dev/web/é.yaml"),
      message: await remote.describe(made),
      log: await remote.log(["base"]),
      tree: await remote.withTree(made, ["apps"], async () => "written"),
    };
    await remote.deleteBranch("bump/x", made);
    return done;
  });
}

/** What somebody may have set that must make no difference, by its subject. */
function harmful({ url, root }: Place, hooks: string): Record<string, Settings> {
  const { origin } = new URL(url);
  return {
    "rewriting of addresses": [
      ["url.ssh://git@127.0.0.1:9/.insteadOf", `${origin}/`],
      [`url.ssh://git@127.0.0.1:9/.insteadOf`, url],
      ["url.ssh://git@127.0.0.1:9/.pushInsteadOf", url],
    ],
    "who may use a repository": [
      ["safe.bareRepository", "explicit"],
      ["safe.directory", ""],
      ["core.sharedRepository", "0400"],
    ],
    "headers and credentials": [
      ["http.extraHeader", "Authorization: Basic bm90OnRoaXM="],
      [`http.${origin}/.extraHeader`, "Authorization: Basic bm90OnRoaXM="],
      [`http.${url}.extraHeader`, "Authorization: Basic bm90OnRoaXM="],
      ["http.cookieFile", "/nonexistent"],
      ["http.emptyAuth", "true"],
      ["http.proactiveAuth", "basic"],
      ["http.followRedirects", "false"],
      ["credential.helper", "!false"],
      ["credential.useHttpPath", "true"],
      [`credential.${origin}.helper`, "!false"],
      ["core.askPass", "false"],
    ],
    "object formats": [
      ["init.defaultObjectFormat", "sha256"],
      ["init.defaultRefFormat", "reftable"],
      ["extensions.objectFormat", "sha256"],
      ["core.repositoryFormatVersion", "1"],
    ],
    "hooks and templates": [
      ["core.hooksPath", hooks],
      ["init.templateDir", join(hooks, "..")],
      ["core.fsmonitor", join(hooks, "pre-push")],
      ["core.alternateRefsCommand", "false"],
    ],
    "the repository": [
      ["core.bare", "false"],
      ["core.worktree", root],
      ["init.defaultBranch", "x/y"],
      ["core.logAllRefUpdates", "always"],
    ],
    encodings: [
      ["i18n.commitEncoding", "ISO-8859-1"],
      ["i18n.logOutputEncoding", "ISO-8859-1"],
      ["core.quotePath", "true"],
      ["core.precomposeUnicode", "true"],
      ["core.autocrlf", "true"],
      ["core.eol", "crlf"],
      ["core.commentChar", "Ü"],
      ["commit.cleanup", "strip"],
      ["trailer.x.command", "false"],
    ],
    "other commands": [
      ["core.attributesFile", join(hooks, "attributes")],
      ["merge.no.driver", "false"],
      ["merge.default", "no"],
      ["merge.renames", "false"],
      ["rebase.autoStash", "true"],
      ["color.ui", "always"],
      ["log.showSignature", "true"],
      ["diff.orderFile", "/nonexistent"],
      ["alias.fetch", "!false"],
      ["tag.gpgSign", "true"],
      ["user.useConfigOnly", "true"],
      ["trace2.eventTarget", "2"],
      ["index.version", "4"],
      ["feature.experimental", "true"],
    ],
    fetching: [
      ["fetch.prune", "false"],
      ["fetch.pruneTags", "true"],
      ["fetch.fsckObjects", "true"],
      ["fetch.unpackLimit", "1"],
      ["fetch.recurseSubmodules", "true"],
      ["fetch.writeCommitGraph", "true"],
      ["fetch.negotiationAlgorithm", "noop"],
      ["fetch.output", "compact"],
      ["submodule.recurse", "true"],
      ["transfer.fsckObjects", "true"],
      ["transfer.hideRefs", "refs/heads"],
      ["transfer.bundleURI", "true"],
      ["clone.rejectShallow", "true"],
      ["clone.defaultRemoteName", "x"],
      ["clone.filterSubmodules", "true"],
    ],
    protocols: [
      ["protocol.allow", "never"],
      ["protocol.http.allow", "never"],
      ["protocol.version", "0"],
      ["core.sshCommand", "false"],
      ["core.gitProxy", "false"],
    ],
    remotes: [
      ["remote.origin.url", "http://127.0.0.1:9/"],
      ["remote.origin.pushurl", "http://127.0.0.1:9/"],
      ["remote.origin.fetch", "refs/heads/*:refs/heads/*"],
      ["remote.origin.push", "refs/heads/*:refs/heads/*"],
      ["remote.origin.mirror", "true"],
      ["remote.origin.prune", "false"],
      ["remote.origin.tagOpt", "--tags"],
      ["remote.origin.proxy", "http://127.0.0.1:9/"],
      ["remote.origin.vcs", "x"],
      ["remote.origin.promisor", "true"],
      ["remote.origin.partialclonefilter", "tree:0"],
      ["remote.pushDefault", "x"],
      ["branch.main.remote", "x"],
    ],
    pushing: [
      ["push.gpgSign", "true"],
      ["push.followTags", "true"],
      ["push.pushOption", "x"],
      ["push.recurseSubmodules", "only"],
      ["push.negotiate", "true"],
      ["push.default", "nothing"],
      ["push.useForceIfIncludes", "true"],
    ],
    upkeep: [
      ["gc.auto", "1"],
      ["gc.autoDetach", "false"],
      ["maintenance.auto", "true"],
      ["core.compression", "99"],
      ["pack.indexVersion", "9"],
    ],
  };
}

async function failingHooks(): Promise<string> {
  const place = join(await temporary(), "hooks");
  for (const name of [
    "pre-push",
    "reference-transaction",
    "post-checkout",
    "pre-auto-gc",
    "push-to-checkout",
  ]) {
    await write(place, { [name]: "#!/bin/sh\nexit 1\n" });
    await chmod(join(place, name), 0o755);
  }
  await writeFile(join(place, "attributes"), "* merge=no diff=no\n");
  return place;
}

describe("what a temporary clone does is the same", () => {
  const subjects = Object.keys(harmful({ root: "", bare: "", url: "http://x/x.git", token: "" }, ""));

  it.each(subjects.map((subject, index) => [subject, WAYS[index % WAYS.length]] as const))(
    "whatever is set about %s, %s",
    async (subject, way = "global") => {
      const settings = harmful(here, await failingHooks())[subject] ?? [];
      expect(await work(here, await configured(settings, way, here.root))).toEqual(plain);
    },
  );

  it.each(WAYS)("with all of it set, %s", async (way: SettingsWay) => {
    const settings = Object.values(harmful(here, await failingHooks())).flat();
    expect(await work(here, await configured(settings, way, here.root))).toEqual(plain);
  });

  it("with all that a hook, a person or a machine has in the environment", async () => {
    const home = await temporary();
    await write(home, {
      ".netrc": "machine 127.0.0.1\nlogin not\npassword this\n",
      ".config/git/attributes": "* merge=no\n",
      ".config/git/config": "[protocol]\n\tallow = never\n",
    });
    const variables = ["DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES"];
    const env = {
      ...Object.fromEntries(variables.map((name) => [`GIT_${name}`, here.root])),
      GIT_CONFIG_SYSTEM: "/dev/null",
      HOME: home,
      GIT_ALLOW_PROTOCOL: "ssh",
      GIT_ASKPASS: "false",
      GIT_SSH_COMMAND: "false",
      GIT_DEFAULT_HASH: "sha256",
      GIT_DEFAULT_REF_FORMAT: "reftable",
      GIT_TEMPLATE_DIR: home,
      GIT_NAMESPACE: "x",
      GIT_QUARANTINE_PATH: home,
      GIT_PROTOCOL: "version=0",
      GIT_PUSH_OPTION_COUNT: "1",
      GIT_PUSH_OPTION_0: "x",
      GIT_TRACE: "1",
      GIT_TRACE2_EVENT: "2",
      GIT_CEILING_DIRECTORIES: "/",
      GIT_NO_LAZY_FETCH: "1",
      GIT_AUTHOR_DATE: "yesterday",
    };
    expect(await work(here, env)).toEqual(plain);
  });
});

it("a repository whose commits are named by SHA-256 is refused", async () => {
  const other = await publish("other", "sha256");
  await expect(work(other, NOTHING)).rejects.toMatchObject({
    exitCode: 3,
    message: `${other.url} names commits by SHA-256, and a release names them by SHA-1`,
  });
});

/** A key of ssh, and the settings that sign with it. */
async function sshSigning(root: string): Promise<Settings> {
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(root, "key")]);
  return [
    ["commit.gpgSign", "true"],
    ["gpg.format", "ssh"],
    // As a path in the checkout.
    ["user.signingKey", "key.pub"],
  ];
}

describe("where Git signs commits", () => {
  /** A signed commit on the server. */
  async function signed(env: Record<string, string>): Promise<string> {
    const { root, url, token } = here;
    const options = {
      root,
      url,
      token,
      branch: "main",
      onInterrupt: () => {},
      env: { ...process.env, ...env },
    };
    return withRemote(options, async (remote) => {
      await remote.fetch("bump/*");
      const made = await remote.commit({
        parent: (await remote.tip("main")) ?? "",
        changes: [{ path: "x", file: { mode: "100644", text: "x\n" } }],
        message: () => "Signed\n",
        author: await authorOf(root, options.env),
        date: new Date(),
      });
      expect(await remote.isSigned(made)).toBe(true);
      expect(await remote.isSigned((await remote.tip("main")) ?? "")).toBe(false);
      await remote.push(made, `signed/${made}`, "none");
      return made;
    });
  }

  it("a commit is signed with its user's key of ssh, and the forge can verify it", async () => {
    const identity: Settings = [
      ["user.name", ANN.name],
      ["user.email", ANN.email],
    ];
    const settings = [...identity, ...(await sshSigning(here.root))];
    const made = await signed(await configured(settings, "inclusion", here.root));
    const allowed = join(here.root, "allowed");
    await writeFile(allowed, `${ANN.email} ${await run("cat", [join(here.root, "key.pub")])}`);
    const shown = await git(
      here.bare,
      "-c",
      `gpg.ssh.allowedSignersFile=${allowed}`,
      "log",
      "-1",
      "--format=%G? %GS %an",
      made,
    );
    expect(shown).toBe("G ann@shop.test Ann\n");
  });

  it("a commit is signed with OpenPGP", async ({ skip }) => {
    const home = await temporary();
    const gnupg = { GNUPGHOME: home };
    const key = await run("gpg", ["--version"]).then(
      async () =>
        run("gpg", ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", `Ann <${ANN.email}>`], {
          env: { ...process.env, ...gnupg },
        }),
      () => undefined,
    );
    skip(key === undefined, "there is no gpg");
    const settings: Settings = [
      ["commit.gpgSign", "true"],
      ["user.name", ANN.name],
      ["user.email", ANN.email],
    ];
    const made = await signed({ ...(await configured(settings, "system", here.root)), ...gnupg });
    expect(await git(here.bare, "cat-file", "commit", made)).toContain("-----BEGIN PGP SIGNATURE-----");
    await run("gpgconf", ["--kill", "all"], { env: { ...process.env, ...gnupg } });
  });

  it.each<[string, Settings, string]>([
    ["fails", [["gpg.program", "/bin/false"]], "gpg failed to sign the data"],
    ["is not there", [["gpg.program", "/nonexistent"]], "cannot run /nonexistent: No such file or directory"],
    [
      "has no key",
      [["gpg.format", "ssh"]],
      "either user.signingkey or gpg.ssh.defaultKeyCommand needs to be configured",
    ],
  ])("a signer that %s is named, and nothing is written", async (_, settings, reason) => {
    const before = await git(here.bare, "for-each-ref");
    const env = await configured([["commit.gpgSign", "true"], ...settings], "environment", here.root);
    await expect(work(here, env)).rejects.toMatchObject({
      exitCode: 3,
      message: `the commit cannot be signed, as commit.gpgSign asks: ${reason}`,
      hint: "see that `git commit -S` works here",
    });
    expect(await git(here.bare, "for-each-ref")).toBe(before);
  });
});
