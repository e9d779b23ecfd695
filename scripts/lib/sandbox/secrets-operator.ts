/**
 * A stand-in for sops-secrets-operator 0.21 (github.com/isindir/sops-secrets-operator): decrypts SopsSecrets with the
 * real sops, and makes Secrets of them. It says the same words in `status.message`, keeps to the same rules about what
 * is whose, and ignores the MAC as the operator does: kustomize has put the keys in another order.
 */
import { isDeepStrictEqual } from "node:util";
import pLimit from "p-limit";
import { z } from "zod";
import { messageOf } from "../errors.ts";
import { tryRun } from "../exec.ts";
import { DEMANDING, UPDATE_ERROR } from "../secrets/secret-type.ts";
import { type KubernetesClient, readJson, watchForever } from "./kubernetes-client.ts";

const API_VERSION = "isindir.github.com/v1alpha3";
const KIND = "SopsSecret";
/** A Secret that has this annotation may be taken over. */
const MANAGED = "sopssecret/managed";
/** What failed is tried again after so long. The operator's default is five minutes; nobody waits that long here. */
const RETRY_MS = 10_000;
/** Only what is needed to see that a Secret has changed, and whose it is: no values. */
const METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

const texts = z.record(z.string(), z.string()).default({});
const OwnerReference = z.looseObject({
  kind: z.string(),
  name: z.string(),
  uid: z.string(),
  controller: z.boolean().default(false),
});
const Metadata = z.looseObject({
  name: z.string(),
  namespace: z.string(),
  uid: z.string(),
  resourceVersion: z.string(),
  generation: z.number().default(0),
  deletionTimestamp: z.string().optional(),
  labels: texts,
  annotations: texts,
  ownerReferences: z.array(OwnerReference).default([]),
});
const Template = z.object({
  name: z.string().default(""),
  type: z.string().default("Opaque"),
  labels: texts,
  annotations: texts,
  data: texts,
  stringData: texts,
});
const SopsSecret = z.looseObject({
  metadata: Metadata,
  spec: z.looseObject({ suspend: z.boolean().default(false), enforceOwnership: z.boolean().default(false) }),
  status: z.looseObject({ message: z.string().optional() }).default({}),
});
const Decrypted = z.object({ spec: z.object({ secretTemplates: z.array(Template) }) });
const Secret = z.looseObject({ metadata: Metadata, data: texts, type: z.string() });
const Child = z.object({ metadata: Metadata });

type Metadata = z.infer<typeof Metadata>;
type Template = z.infer<typeof Template>;
type SopsSecret = z.infer<typeof SopsSecret>;

/** The operator's own words (its constants STATUS_…). */
type Status =
  | "Healthy"
  | "Decryption error"
  | "Child secret is not owned by controller error"
  | typeof UPDATE_ERROR
  | "New child secret creation error"
  | "Reconciliation is suspended"
  | "Unknown Error";

/** What ends the work on a SopsSecret with another word than Healthy. Its message holds no values. */
class Fault extends Error {
  readonly status: Status;
  constructor(status: Status, message: string) {
    super(message);
    this.status = status;
  }
}

/** The program, and the environment in which it finds the private key of one cluster. */
export interface Decryption {
  program: string;
  env: NodeJS.ProcessEnv;
}

type Log = (line: string) => void;

/** The operator of one cluster: never returns. */
export async function operate(api: KubernetesClient, sops: Decryption, log: Log): Promise<never> {
  return watchForever(async () => new Operator(api, sops, log).untilAWatchEnds(), log);
}

/** What is known of a cluster as long as both watches last. Afterwards it is all seen anew. */
class Operator {
  readonly #api: KubernetesClient;
  readonly #sops: Decryption;
  readonly #log: Log;
  readonly #ended = new AbortController();
  /** One at a time. */
  readonly #limit = pLimit(1);
  readonly #sealed = new Map<string, SopsSecret>();
  /** Secrets that a SopsSecret owns. */
  readonly #children = new Map<string, Metadata>();
  /** Versions of Secrets that were seen to be as they should be, by uid. */
  readonly #agreed = new Map<string, string>();
  readonly #retries = new Map<string, NodeJS.Timeout>();

  constructor(api: KubernetesClient, sops: Decryption, log: Log) {
    this.#api = api;
    this.#sops = sops;
    this.#log = log;
  }

  /** @returns why */
  async untilAWatchEnds(): Promise<string> {
    const watches = [this.#watchSealed(), this.#watchSecrets()];
    try {
      return await Promise.race(watches);
    } finally {
      this.#ended.abort();
      for (const retry of this.#retries.values()) clearTimeout(retry);
      await Promise.allSettled(watches);
    }
  }

  async #watchSealed(): Promise<string> {
    const events = this.#api.watch(`/apis/${API_VERSION}/sopssecrets`, this.#ended.signal);
    for await (const { type, object } of events) {
      const sealed = SopsSecret.parse(object);
      const id = idOf(sealed.metadata);
      const before = this.#sealed.get(id)?.metadata;
      // One that is on its way out keeps its Secrets until they are collected with it.
      if (type === "DELETED" || sealed.metadata.deletionTimestamp !== undefined) this.#sealed.delete(id);
      else this.#sealed.set(id, sealed);
      const { uid, generation } = sealed.metadata;
      // A new status, such as our own, is no new content.
      if (before?.uid !== uid || before.generation !== generation) void this.#attend(id);
    }
    return "the watch of SopsSecrets has ended";
  }

  async #watchSecrets(): Promise<string> {
    const events = this.#api.watch("/api/v1/secrets", this.#ended.signal, METADATA_ONLY);
    for await (const { type, object } of events) {
      const { metadata } = Child.parse(object);
      const id = idOf(metadata);
      const owner = ownerOf(metadata) ?? ownerOf(this.#children.get(id));
      if (type === "DELETED" || ownerOf(metadata) === undefined) this.#children.delete(id);
      else this.#children.set(id, metadata);
      const isAgreed = () =>
        type !== "DELETED" && this.#agreed.get(metadata.uid) === metadata.resourceVersion;
      if (owner !== undefined) void this.#attend(`${metadata.namespace}/${owner.name}`, isAgreed);
    }
    return "the watch of Secrets has ended";
  }

  /** Looks after one SopsSecret when it is its turn, unless there is nothing left to do by then. */
  async #attend(id: string, isDone = () => false): Promise<void> {
    await this.#limit(async () => {
      const sealed = this.#sealed.get(id);
      if (sealed === undefined || this.#ended.signal.aborted || isDone()) return;
      clearTimeout(this.#retries.get(id));
      try {
        await this.#report(sealed, await this.#reconcile(sealed));
      } catch (error) {
        this.#log(`${id}: ${messageOf(error)}`);
        this.#retries.set(
          id,
          setTimeout(() => void this.#attend(id), RETRY_MS),
        );
        const status = error instanceof Fault ? error.status : "Unknown Error";
        await this.#report(sealed, status).catch((failure: unknown) =>
          this.#log(`${id}: ${messageOf(failure)}`),
        );
      }
    });
  }

  /** Also when it is what was seen last: the watch may be behind, and a patch that changes nothing costs nothing. */
  async #report({ metadata, status }: SopsSecret, message: Status): Promise<void> {
    const { namespace, name } = metadata;
    const path = `/apis/${API_VERSION}/namespaces/${namespace}/sopssecrets/${name}/status`;
    const answer = await this.#api.call("PATCH", path, { status: { message } });
    // It may have gone in the meantime.
    if (answer.status >= 300 && answer.status !== 404) throw new Error(refusal(name, answer));
    if (status.message !== message) this.#log(`${idOf(metadata)}: ${message}`);
  }

  async #reconcile(sealed: SopsSecret): Promise<Status> {
    if (sealed.spec.suspend) return "Reconciliation is suspended";
    const templates = await decrypt(this.#sops, sealed);
    for (const template of templates) await this.#ensureSecret(sealed, template);
    const wanted = new Set(templates.map(({ name }) => name));
    for (const child of this.#children.values()) {
      if (ownerOf(child)?.uid !== sealed.metadata.uid || wanted.has(child.name)) continue;
      const preconditions = { uid: child.uid };
      await this.#api.call("DELETE", pathOf(child), { preconditions });
      this.#log(`${idOf(child)}: removed`);
    }
    // The operator may read a Secret that it has just made as an empty one, and nobody may write that with such a type. The word
    // stays, although the Secret is right. It happens at times; here it always does, so that it is seen before a cluster has it.
    return templates.some(({ type }) => DEMANDING.includes(type)) ? UPDATE_ERROR : "Healthy";
  }

  async #ensureSecret(sealed: SopsSecret, template: Template): Promise<void> {
    const { namespace, name: owner, uid } = sealed.metadata;
    const { name, type, labels, annotations } = template;
    const data = dataOf(template);
    const place = { namespace, name };
    const reference = { apiVersion: API_VERSION, kind: KIND, name: owner, uid };
    const ownerReferences = [{ ...reference, controller: true, blockOwnerDeletion: true }];
    let answer = await this.#api.call("GET", pathOf(place));
    if (answer.status === 404) {
      const metadata = { ...place, labels, annotations, ownerReferences };
      const made = { apiVersion: "v1", kind: "Secret", metadata, type, data };
      answer = await this.#api.call("POST", pathOf({ namespace }), made);
    }
    if (answer.status >= 300) throw new Fault("Unknown Error", refusal(name, answer));
    const there = Secret.parse(answer.body);
    const mayTake = there.metadata.annotations[MANAGED] === "true" || sealed.spec.enforceOwnership;
    if (ownerOf(there.metadata)?.uid !== uid && !mayTake)
      throw new Fault("Child secret is not owned by controller error", `somebody else has made ${name}`);
    const wanted = {
      ...there,
      metadata: {
        ...there.metadata,
        labels,
        annotations,
        ownerReferences: mayTake ? ownerReferences : there.metadata.ownerReferences,
      },
      type,
      data,
    };
    if (!isDeepStrictEqual(there, wanted)) {
      answer = await this.#api.call("PUT", pathOf(place), wanted);
      if (answer.status >= 300) throw new Fault(UPDATE_ERROR, refusal(name, answer));
      this.#log(`${idOf(place)}: updated`);
    }
    const { metadata } = Secret.parse(answer.body);
    this.#agreed.set(metadata.uid, metadata.resourceVersion);
  }
}

async function decrypt({ program, env }: Decryption, sealed: SopsSecret): Promise<Template[]> {
  const types = ["--input-type", "json", "--output-type", "json"];
  const args = ["--disable-version-check", "decrypt", "--ignore-mac", ...types];
  const { exitCode, stdout } = await tryRun(program, args, { env, input: JSON.stringify(sealed) });
  if (exitCode !== 0) throw new Fault("Decryption error", `sops ends with exit code ${exitCode}`);
  const decrypted = Decrypted.safeParse(readJson(stdout));
  if (!decrypted.success) throw new Fault("Decryption error", "what sops decrypts is no SopsSecret");
  return decrypted.data.spec.secretTemplates;
}

/** The `data` of a Secret: what a template has there already, and its texts. */
function dataOf({ name, data, stringData }: Template): Record<string, string> {
  const base64 = Object.entries(data).map(([key, value]) => {
    const plain = value.replaceAll(/\s/g, "");
    if (Buffer.from(plain, "base64").toString("base64") === plain) return [key, plain];
    throw new Fault("New child secret creation error", `${name}: ${key} is not base64`);
  });
  const plain = Object.entries(stringData).map(([key, value]) => [
    key,
    Buffer.from(value).toString("base64"),
  ]);
  if (name === "") throw new Fault("New child secret creation error", "a Secret without a name");
  return Object.fromEntries([...base64, ...plain]);
}

function ownerOf(metadata: Metadata | undefined): z.infer<typeof OwnerReference> | undefined {
  return metadata?.ownerReferences.find(({ controller, kind }) => controller && kind === KIND);
}

function idOf({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}/${name}`;
}

function pathOf({ namespace, name }: { namespace: string; name?: string }): string {
  return `/api/v1/namespaces/${namespace}/secrets${name === undefined ? "" : `/${name}`}`;
}

/** Without the API server's own message: it might quote a value. */
function refusal(name: string, { status, body }: { status: number; body: unknown }): string {
  const reason = z.object({ reason: z.string() }).safeParse(body).data?.reason ?? "";
  return `the API server answers ${status} ${reason} to ${name}`;
}
