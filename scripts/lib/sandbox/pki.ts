/** Throw-away certificates for a cluster, and for Argo CD's repo server: made anew for every sandbox; nothing outside trusts them. */
import "reflect-metadata"; // @peculiar/x509 needs it loaded first
import { generateKeyPairSync, webcrypto } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { exists, readIfThere } from "../file.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const ONE_YEAR_MS = 365 * 24 * 60 * 60 * 1000;
const LOOPBACK: x509.JsonGeneralNames = [
  { type: "ip", value: "127.0.0.1" },
  { type: "dns", value: "localhost" },
];

/** A certificate and its private key, as PEM and as the files they were written to. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

/** Who a client certificate stands for: the user (CN) and group (O) that Kubernetes reads from it. */
export interface Subject {
  readonly name: string;
  readonly group?: string;
}

export interface ClusterPki {
  /** Signs what the API server accepts and serves. */
  readonly ca: string;
  readonly caFile: string;
  /** Serves every TLS port of the cluster on loopback. */
  readonly server: KeyPair;
  /** etcd has an authority of its own: only the API server may read it. */
  readonly etcdCaFile: string;
  readonly etcd: KeyPair;
  /** The API server as a front proxy to aggregated APIs. */
  readonly frontProxyCaFile: string;
  readonly frontProxy: KeyPair;
  /** Signs service account tokens. */
  readonly serviceAccountKeyFile: string;
  readonly clients: Readonly<Record<string, KeyPair>>;
}

/**
 * Makes a cluster's certificates, or reads those that an earlier call made.
 * @param directory where they are kept; created when missing, readable by its owner only
 * @param clients client certificates by file name
 */
export async function ensurePki(
  directory: string,
  clients: Readonly<Record<string, Subject>>,
): Promise<ClusterPki> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const serviceAccountKeyFile = join(directory, "service-account.key");
  const complete = await readIfThere(serviceAccountKeyFile);
  if (complete === undefined) {
    await makePki(directory, clients);
    // Written last: its presence says that everything else is complete.
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    await writeFile(serviceAccountKeyFile, privateKey.export({ type: "sec1", format: "pem" }), {
      mode: 0o600,
    });
  }
  const pairs = Object.keys(clients).map(async (name) => [name, await readPair(directory, name)] as const);
  const caFile = join(directory, "ca.crt");
  return {
    ca: await readFile(caFile, "utf8"),
    caFile,
    server: await readPair(directory, "server"),
    etcdCaFile: join(directory, "etcd-ca.crt"),
    etcd: await readPair(directory, "etcd"),
    frontProxyCaFile: join(directory, "front-proxy-ca.crt"),
    frontProxy: await readPair(directory, "front-proxy"),
    serviceAccountKeyFile,
    clients: Object.fromEntries(await Promise.all(pairs)),
  };
}

/** Argo CD's repo server runs what it is asked to: only who has a certificate of its authority may ask. */
export interface RepoServerPki {
  /** Signs the repo server's certificate, and those of its clients. */
  readonly caFile: string;
  /** Where the repo server looks for its own, `reposerver/tls` in it. */
  readonly config: string;
  readonly clients: Readonly<Record<string, KeyPair>>;
}

/**
 * Makes the certificates of the repo server and its clients, or reads those that an earlier call made.
 * @param directory where they are kept; created when missing, readable by its owner only
 * @param clients names of the programs that call it
 */
export async function ensureRepoServerPki(
  directory: string,
  clients: readonly string[],
): Promise<RepoServerPki> {
  const serving = join(directory, "reposerver/tls");
  await mkdir(serving, { recursive: true, mode: 0o700 });
  if (!(await exists(join(serving, "tls.key")))) {
    const authority = await makeAuthority(directory, "ca");
    await Promise.all(clients.map(async (name) => issue(directory, name, authority, { name })));
    // Its key is written last: it says that everything else is complete.
    await issue(serving, "tls", authority, { name: "argocd-repo-server" });
  }
  const pairs = clients.map(async (name) => [name, await readPair(directory, name)] as const);
  return {
    caFile: join(directory, "ca.crt"),
    config: directory,
    clients: Object.fromEntries(await Promise.all(pairs)),
  };
}

async function makePki(directory: string, clients: Readonly<Record<string, Subject>>): Promise<void> {
  const [ca, etcdCa, frontProxyCa] = await Promise.all(
    ["ca", "etcd-ca", "front-proxy-ca"].map((name) => makeAuthority(directory, name)),
  );
  if (!ca || !etcdCa || !frontProxyCa) throw new Error("three authorities were asked for");
  await Promise.all([
    issue(directory, "server", ca, { name: "sandbox" }),
    issue(directory, "etcd", etcdCa, { name: "etcd" }),
    issue(directory, "front-proxy", frontProxyCa, { name: "front-proxy" }),
    ...Object.entries(clients).map(([name, subject]) => issue(directory, name, ca, subject)),
  ]);
}

async function makeAuthority(directory: string, name: string): Promise<Authority> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=sandbox ${name}`,
    ...validity(),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writeFile(join(directory, `${name}.crt`), certificate.toString("pem"), { mode: 0o600 });
  return { certificate, keys };
}

async function issue(directory: string, name: string, authority: Authority, subject: Subject): Promise<void> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [subject.name] }, ...(subject.group === undefined ? [] : [{ O: [subject.group] }])],
    issuer: authority.certificate.subject,
    ...validity(),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension(LOOPBACK),
      await x509.AuthorityKeyIdentifierExtension.create(authority.keys.publicKey),
    ],
  });
  await writeFile(join(directory, `${name}.crt`), certificate.toString("pem"), { mode: 0o600 });
  await writeFile(join(directory, `${name}.key`), await pemOf(keys.privateKey), { mode: 0o600 });
}

function validity(): { notBefore: Date; notAfter: Date } {
  // A minute back, for clocks that are set while the sandbox starts.
  return { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + ONE_YEAR_MS) };
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

async function readPair(directory: string, name: string): Promise<KeyPair> {
  const certificateFile = join(directory, `${name}.crt`);
  const keyFile = join(directory, `${name}.key`);
  const [certificate, key] = await Promise.all([
    readFile(certificateFile, "utf8"),
    readFile(keyFile, "utf8"),
  ]);
  return { certificate, key, certificateFile, keyFile };
}
