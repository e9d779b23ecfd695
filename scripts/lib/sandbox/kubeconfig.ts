/** Kubeconfig files, as the JSON that every Kubernetes client reads as YAML. */

import { replaceFile } from "../file.ts";
import type { KeyPair } from "./pki.ts";

export interface Context {
  readonly name: string;
  readonly server: string;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca: string;
  readonly user: KeyPair;
  readonly namespace?: string;
}

/** Writes a kubeconfig with these contexts; the first one is the current one. */
export async function writeKubeconfig(
  file: string,
  contexts: readonly [Context, ...Context[]],
): Promise<void> {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": contexts[0].name,
    clusters: contexts.map(({ name, server, ca }) => ({
      name,
      cluster: { server, "certificate-authority-data": base64(ca) },
    })),
    users: contexts.map(({ name, user }) => ({
      name,
      user: { "client-certificate-data": base64(user.certificate), "client-key-data": base64(user.key) },
    })),
    contexts: contexts.map(({ name, namespace }) => ({
      name,
      context: { cluster: name, user: name, ...(namespace === undefined ? {} : { namespace }) },
    })),
  };
  await replaceFile(file, `${JSON.stringify(config, null, 2)}\n`);
}
