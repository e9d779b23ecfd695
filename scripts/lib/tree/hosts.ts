/** The names under which an environment is reached. Kustomize reads the same file (base/transformers/hosts). */
import { join } from "node:path";
import { z } from "zod";
import { readDocument } from "../document.ts";
import { readIfThere } from "../file.ts";

const Hosts = z.looseObject({ data: z.looseObject({ api: z.string() }) });

/**
 * The DNS name of an environment's API.
 * @param gateway the app whose overlay has the names
 * @param domain the shop's, as in the settings
 * @throws RefusedError when the overlay's hosts.yaml is not valid
 */
export async function apiHost(
  root: string,
  environment: string,
  gateway: string,
  domain: string,
): Promise<string> {
  const file = `overlays/${environment}/${gateway}/hosts.yaml`;
  const text = await readIfThere(join(root, file));
  // Without a name of its own an environment has the one of the routes in base.
  const { data } = text === undefined ? { data: { api: "api" } } : readDocument(text, file, Hosts);
  return `${data.api}.${domain}`;
}
