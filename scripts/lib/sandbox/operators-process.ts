/**
 * `operators-process.ts <work>`: the stand-ins for sops-secrets-operator and apisix-ingress-controller of all clusters, as one
 * process. The work is JSON: the sops program, and of each cluster a kubeconfig and the file with its private key.
 */
import { z } from "zod";
import { acceptAll } from "./gateway-controller.ts";
import { connectKubernetes } from "./kubernetes-client.ts";
import { operate } from "./secrets-operator.ts";

const Work = z.strictObject({
  sops: z.string(),
  clusters: z.array(z.strictObject({ name: z.string(), kubeconfig: z.string(), keyFile: z.string() })),
});

export type OperatorWork = z.infer<typeof Work>;

const [work] = process.argv.slice(2);
if (work === undefined) throw new Error("the work is missing");
const { sops, clusters } = Work.parse(JSON.parse(work));
const { PATH, HOME } = process.env;
await Promise.all(
  clusters.map(async ({ name, kubeconfig, keyFile }) => {
    // Each cluster's sops finds the key of this cluster only.
    const decryption = { program: sops, env: { PATH, HOME, SOPS_AGE_KEY_FILE: keyFile } };
    const log = (line: string) => process.stdout.write(`${name}: ${line}\n`);
    const api = await connectKubernetes(kubeconfig, "sops-secrets-operator");
    await Promise.race([operate(api, decryption, log), acceptAll(api, log)]);
  }),
);
