import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assert, asyncProperty, oneof, string, tuple, uint8Array } from "fast-check";
import { describe, expect, it } from "vitest";
import { RefusedError } from "../../../scripts/lib/errors.ts";
import type { SecretValues } from "../../../scripts/lib/secrets/credential.ts";
import { parseRules } from "../../../scripts/lib/secrets/keys/recipients.ts";
import {
  findCredential,
  keysToSet,
  planRotation,
  planSeal,
  refuseSupplied,
  SECRET_LIMIT,
  sealPlanned,
  unlisted,
} from "../../../scripts/lib/secrets/seal/plan.ts";
import { writeSealed } from "../../../scripts/lib/secrets/seal/seal.ts";
import { parseSealed, type SealedFile, valuesOf } from "../../../scripts/lib/secrets/sealed.ts";
import { NoKeyError, type Sops } from "../../../scripts/lib/secrets/sops.ts";
import { opened, type SealRepository, sealFile, sealRepository } from "../../support/seal.ts";
import { write } from "../../support/tree.ts";

const GATEWAY = "overlays/dev/web/gateway.sops.yaml";
const LOGINS = ["overlays/dev/disk/login.sops.yaml", "overlays/dev/web/web-login.sops.yaml"] as const;
const BYTES = (values: Record<string, string>): SecretValues =>
  new Map(Object.entries(values).map(([key, value]) => [key, Buffer.from(value)]));

/** Seals values as the command does. */
async function set(
  { root }: SealRepository,
  sops: Sops,
  [environments, app, secret]: readonly [string, string, string?],
  given: SecretValues,
): Promise<string[]> {
  const names = environments.split(",");
  const credential = await findCredential(root, { environments: names, app, secret });
  const keys = keysToSet(credential, [...given.keys()]);
  const plan = await planSeal(root, sops, { credential, environments: names, keys });
  const changes = await sealPlanned(root, sops, plan, given);
  await writeSealed(root, changes);
  return changes.map(({ path }) => path);
}

const GIVEN = { "api-key": "one", hook: "two", token: "three" };

/** The gateway's Secret of dev, as it is sealed. */
async function gateway(root: string): Promise<SealedFile> {
  return parseSealed(await readFile(join(root, GATEWAY), "utf8"), GATEWAY);
}

describe("new values for a Secret", () => {
  it("need no private key when every key has one, and go to every copy, whichever app is named", async () => {
    const repository = await sealRepository();
    for (const [app, secret, word] of [
      ["disk", "login", "first"],
      ["web", "web-login", "second"],
    ] as const) {
      const paths = await set(repository, repository.blind, ["dev", app, secret], BYTES({ password: word }));
      expect(paths).toEqual(LOGINS);
      for (const path of LOGINS)
        expect(await opened(repository, path)).toEqual({ user: "shop", password: word });
    }
  });

  it("are the same in several environments; each is sealed for its own recipients", async () => {
    const repository = await sealRepository();
    const paths = await set(repository, repository.blind, ["dev,live", "web", "pass"], BYTES({ word: "w" }));
    expect(paths).toEqual(["overlays/dev/web/pass.sops.yaml", "overlays/live/web/pass.sops.yaml"]);
    for (const [path, environment] of [
      [paths[0] ?? "", "dev"],
      [paths[1] ?? "", "live"],
    ] as const) {
      const file = parseSealed(await readFile(join(repository.root, path), "utf8"), path);
      expect(file.sops?.recipients).toEqual([repository.identities[environment]?.recipient]);
      expect(await opened(repository, path)).toEqual({ word: "w" });
    }
  });

  it("leave the other keys their values, with a private key", async () => {
    const repository = await sealRepository();
    const { sops, blind } = repository;
    await set(repository, blind, ["dev", "web", "gateway"], BYTES(GIVEN));
    await set(repository, sops, ["dev", "web", "gateway"], BYTES({ hook: "new" }));
    expect(await opened(repository, GATEWAY)).toEqual({ ...GIVEN, hook: "new" });
  });

  it("take the placeholder mark from the keys that are given, and from no other", async () => {
    const repository = await sealRepository();
    const { root, sops, blind } = repository;
    await sealFile(repository, GATEWAY, GIVEN, ["api-key", "hook"]);
    const marks = async () => (await gateway(root)).placeholders;
    await set(repository, sops, ["dev", "web", "gateway"], BYTES({ token: "t" }));
    expect(await marks()).toEqual(["api-key", "hook"]);
    await set(repository, sops, ["dev", "web", "gateway"], BYTES({ hook: "h" }));
    expect(await marks()).toEqual(["api-key"]);
    await set(repository, blind, ["dev", "web", "gateway"], BYTES(GIVEN));
    expect(await marks()).toEqual([]);
  });

  it("replace a file with a conflict, or in plaintext, when all are given", async () => {
    const repository = await sealRepository();
    for (const text of ["<<<<<<< HEAD\n", "kind: Secret\n"]) {
      await write(repository.root, { [GATEWAY]: text });
      await set(repository, repository.blind, ["dev", "web", "gateway"], BYTES(GIVEN));
      expect(await opened(repository, GATEWAY)).toEqual(GIVEN);
    }
  });

  it("may be as many as a Secret holds when they are text, and less when they are bytes", async () => {
    const repository = await sealRepository();
    for (const value of [Buffer.alloc(SECRET_LIMIT, "text"), Buffer.alloc(840 * 1024, 0xff)])
      await set(repository, repository.blind, ["dev", "web", "pass"], new Map([["word", value]]));
    const text = await readFile(join(repository.root, "overlays/dev/web/pass.sops.yaml"), "utf8");
    expect(text.length).toBeLessThan(1.5 * 1024 * 1024);
  });

  it("come back byte for byte", async () => {
    const repository = await sealRepository();
    const { root, blind, sops } = repository;
    const credential = await findCredential(root, { environments: ["dev"], app: "web", secret: "gateway" });
    const keys = keysToSet(credential, []);
    const plan = await planSeal(root, blind, { credential, environments: ["dev"], keys });
    const back = async (values: readonly Uint8Array[]) => {
      const given = new Map(keys.map((key, index) => [key, values[index] ?? new Uint8Array()]));
      const [change] = await sealPlanned(root, blind, plan, given);
      const found = valuesOf(await sops.open(GATEWAY, change?.text ?? ""));
      expect(keys.map((key) => Buffer.from(found.get(key) ?? "missing").toString("base64"))).toEqual(
        values.map((value) => Buffer.from(value).toString("base64")),
      );
    };
    const table = [
      ["", "null", "~"],
      ["true", "0x1F", "1e3"],
      ["- a", "a: b", "{a: b}"],
      ["ENC[AES256_GCM,data:x]", "sops:", "#comment"],
      ["line\nline\n", "\n", "tab\t trailing  "],
      ["\r\n", "\u0000", "\ufeffmark"],
      ["grüße 🔑 \u2028", "'\"`$\\", "|\n  folded"],
      ["2026-11-22", "<<", "*alias"],
      ["-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n", "!!binary aGk=", "=".repeat(300)],
    ].map((row) => row.map((value) => Buffer.from(value)));
    const large = Buffer.alloc(256 * 1024, "0123456789abcdef\n");
    const random = Buffer.from(Array.from({ length: 256 * 1024 }, (_, index) => (index * 7919) % 256));
    for (const row of [...table, [large, random, Buffer.alloc(0)]]) await back(row);
    const any = oneof(
      uint8Array({ maxLength: 300 }),
      string({ unit: "binary", maxLength: 100 }).map((text) => new Uint8Array(Buffer.from(text))),
    );
    await assert(asyncProperty(tuple(any, any, any), back), { numRuns: 20 });
  });
});

describe("a request that cannot be met ends with one line", () => {
  const set3: readonly [string, string, string] = ["dev", "web", "gateway"];
  const cases: [string, (repository: SealRepository) => Promise<unknown>, RegExp][] = [
    [
      "an app that there is not",
      ({ root }) => findCredential(root, { environments: ["dev"], app: "wep", secret: undefined }),
      /^there is no app wep; there are disk, web$/,
    ],
    [
      "an app that has no overlay there",
      async ({ root }) => {
        await rm(join(root, "overlays/test/web"), { recursive: true });
        return findCredential(root, { environments: ["test"], app: "web", secret: "pass" });
      },
      /^web has no overlay in test; make overlays\/test\/web\/kustomization.yaml first$/,
    ],
    [
      "several Secrets",
      ({ root }) => findCredential(root, { environments: ["dev"], app: "web", secret: undefined }),
      /^web has several Secrets: .*gateway, pass.*; say which one with --secret$/,
    ],
    [
      "a Secret that there is not",
      ({ root }) => findCredential(root, { environments: ["dev"], app: "web", secret: "login" }),
      /^web has no Secret login; it has /,
    ],
    [
      "a key that there is not, which may be a value",
      (repository) => set(repository, repository.blind, set3, BYTES({ hunter2: "x" })),
      /^not every KEY that you name is one of web\/gateway; it has api-key, hook, token$/,
    ],
    [
      "a value as an argument",
      (repository) => set(repository, repository.blind, set3, BYTES({ "hook=hunter2": "x" })),
      /^a value is never an argument/,
    ],
    [
      "a fixed key",
      (repository) => set(repository, repository.blind, ["dev", "disk"], BYTES({ user: "x" })),
      /^user of disk\/login has a fixed value, which is no secret; change it in apps\/disk.yaml$/,
    ],
    [
      "a key that cannot be generated",
      async ({ root }) => {
        const credential = await findCredential(root, {
          environments: ["dev"],
          app: "web",
          secret: "gateway",
        });
        return refuseSupplied(credential, keysToSet(credential, []));
      },
      /^api-key of web\/gateway cannot be generated: it comes from the provider's console; /,
    ],
    [
      "a missing key where nothing is sealed",
      (repository) => set(repository, repository.sops, set3, BYTES({ hook: "x" })),
      /^dev has no value for api-key of web\/gateway that could stay; give it, too$/,
    ],
    [
      "no private key for what has to stay",
      async (repository) => {
        await sealFile(repository, GATEWAY, GIVEN);
        return set(repository, repository.blind, set3, BYTES({ hook: "x" }));
      },
      /^no private key here opens overlays\/dev\/web\/gateway.sops.yaml, so its api-key, token cannot stay; give api-key, token, too: .*SOPS_AGE_KEY_FILE/,
    ],
    [
      "copies that differ in what has to stay",
      async (repository) => {
        const { root, sops } = repository;
        const text = `${await readFile(join(root, "apps/disk.yaml"), "utf8")}      more: {generate: 16}\n`;
        await write(root, { "apps/disk.yaml": text });
        for (const [index, path] of LOGINS.entries())
          await sealFile(repository, path, { user: "shop", password: "p", more: `${index}` });
        return set(repository, sops, ["dev", "disk"], BYTES({ password: "x" }));
      },
      /^the copies of disk\/login in dev do not have the same more; give it, too$/,
    ],
    [
      "a merge conflict in what has to stay",
      async (repository) => {
        await write(repository.root, { [GATEWAY]: "a: 1\n<<<<<<< HEAD\n" });
        return set(repository, repository.sops, set3, BYTES({ hook: "x" }));
      },
      /gateway.sops.yaml:2: the marker of a merge conflict; /,
    ],
    [
      "plaintext in what has to stay",
      async (repository) => {
        const { root } = repository;
        await sealFile(repository, GATEWAY, GIVEN);
        const text = await readFile(join(root, GATEWAY), "utf8");
        await write(root, { [GATEWAY]: text.replace(/\nsops:[^]*$/, "\n") });
        return set(repository, repository.sops, set3, BYTES({ hook: "x" }));
      },
      /gateway.sops.yaml is not encrypted; seal it, and change every value that it shows$/,
    ],
    [
      "what has to stay was tampered with",
      async (repository) => {
        const { root } = repository;
        await sealFile(repository, GATEWAY, GIVEN);
        const text = await readFile(join(root, GATEWAY), "utf8");
        await write(root, {
          [GATEWAY]: text.replace(/data:.(?=[^\n]*\n)/, (found) =>
            found.endsWith("A") ? "data:B" : "data:A",
          ),
        });
        return set(repository, repository.sops, set3, BYTES({ hook: "x" }));
      },
      /gateway.sops.yaml has been changed since it was sealed; /,
    ],
    [
      "an environment without a rule",
      async (repository) => {
        const { root, blind } = repository;
        const rules = await readFile(join(root, ".sops.yaml"), "utf8");
        await writeFile(
          join(root, ".sops.yaml"),
          rules.replace(/ {2}- path_regex: \^overlays\/live[^]*$/, ""),
        );
        return set(repository, blind, ["live", "web", "pass"], BYTES({ word: "x" }));
      },
      /^\.sops\.yaml has no rule for live; make its keys with `npm run init -- --only live --to-cluster live=<context>`$/,
    ],
    [
      "no rules",
      async (repository) => {
        await rm(join(repository.root, ".sops.yaml"));
        return set(repository, repository.blind, ["live", "web", "pass"], BYTES({ word: "x" }));
      },
      /has no \.sops\.yaml; `npm run init -- --help` says how to make it$/,
    ],
    [
      "a recipient that is none",
      async (repository) => {
        const { root, blind, identities } = repository;
        const rules = await readFile(join(root, ".sops.yaml"), "utf8");
        const key = identities["live"]?.recipient ?? "";
        const end = key.endsWith("q") ? "p" : "q";
        await writeFile(join(root, ".sops.yaml"), rules.replaceAll(key, `${key.slice(0, -1)}${end}`));
        return set(repository, blind, ["live", "web", "pass"], BYTES({ word: "x" }));
      },
      /^\.sops\.yaml has a recipient for overlays\/live\/web\/pass\.sops\.yaml that is no public key of age; /,
    ],
    [
      "more than a Secret holds",
      (repository) =>
        set(
          repository,
          repository.blind,
          set3,
          new Map([
            ["api-key", Buffer.alloc(SECRET_LIMIT / 2)],
            ["hook", Buffer.alloc(SECRET_LIMIT / 2)],
            ["token", Buffer.from("x")],
          ]),
        ),
      /^the values of web\/gateway have 1048577 bytes, and a Secret holds 1048576 at most; /,
    ],
    [
      "bytes that a Secret holds, and a cluster does not take once they are sealed",
      (repository) =>
        set(
          repository,
          repository.blind,
          ["dev", "web", "pass"],
          new Map([["word", Buffer.alloc(880 * 1024, 0xff)]]),
        ),
      /^the values of web\/pass are 160\d{4} bytes once they are sealed, and a cluster takes 1556480 at most; /,
    ],
  ];
  it.each(cases)("%s", async (_, action, line) => {
    const repository = await sealRepository();
    const error = await action(repository).catch((thrown: unknown) => thrown);
    if (!(error instanceof Error && "hint" in error)) throw error;
    expect(`${error.message}; ${String(error.hint)}`).toMatch(line);
    expect(`${error.message}${String(error.hint)}`).not.toMatch(/hunter2|\n/);
  });
});

describe("sealing again", () => {
  async function sealedAll(): Promise<SealRepository> {
    const repository = await sealRepository();
    await set(repository, repository.blind, ["dev,live", "disk"], BYTES({ password: "p" }));
    await set(repository, repository.blind, ["dev", "web", "pass"], BYTES({ word: "w" }));
    return repository;
  }

  it("renews the data key, keeps the values, and has the recipients of today", async () => {
    const repository = await sealedAll();
    const { root, sops, identities } = repository;
    const [path] = LOGINS;
    const before = await readFile(join(root, path), "utf8");
    const rules = await readFile(join(root, ".sops.yaml"), "utf8");
    const live = identities["live"]?.recipient ?? "";
    await writeFile(join(root, ".sops.yaml"), rules.replaceAll("*cluster-dev", "*cluster-live"));
    expect(parseRules(await readFile(join(root, ".sops.yaml"), "utf8"))[0]?.recipients[0]?.key).toBe(live);
    await writeSealed(
      root,
      await planRotation(root, sops, { environments: ["dev"], app: "disk", secret: undefined }),
    );
    const after = await readFile(join(root, path), "utf8");
    expect(parseSealed(after, path).sops?.recipients).toEqual([live]);
    expect(await opened(repository, path)).toEqual({ user: "shop", password: "p" });
    const values = [...parseSealed(before, path).stringData.values()];
    for (const value of values) expect(after).not.toContain(value);
  });

  it.each([
    [["dev"], "web", undefined, [LOGINS[1], "overlays/dev/web/pass.sops.yaml"]],
    [["dev"], "web", "pass", ["overlays/dev/web/pass.sops.yaml"]],
    [["dev", "live"], "disk", undefined, [LOGINS[0], "overlays/live/disk/login.sops.yaml"]],
    [["dev"], "all", undefined, [...LOGINS, "overlays/dev/web/pass.sops.yaml"].toSorted()],
  ])("is about %s %s %s", async (environments, app, secret, paths) => {
    const { root, sops } = await sealedAll();
    const changes = await planRotation(root, sops, { environments, app, secret });
    expect(changes.map(({ path }) => path).toSorted()).toEqual([...paths].toSorted());
  });

  it("needs a private key, and something sealed", async () => {
    const { root, blind, sops } = await sealedAll();
    const request = { environments: ["dev"], app: "all", secret: undefined };
    await expect(planRotation(root, blind, request)).rejects.toThrow(NoKeyError);
    const nothing = planRotation(root, sops, { ...request, environments: ["test"] });
    await expect(nothing).rejects.toThrow(RefusedError);
    await expect(nothing).rejects.toThrow("nothing is sealed for all in test");
  });
});

it("a file that no overlay lists is named with its line", async () => {
  const { root } = await sealRepository();
  expect(await unlisted(root, [GATEWAY, "overlays/dev/web/pass.sops.yaml"])).toEqual([
    { kustomization: "overlays/dev/web/kustomization.yaml", resource: "pass.sops.yaml" },
  ]);
});
