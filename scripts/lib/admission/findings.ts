/** What stands against a change of an environment: an API server that refuses it, a quota that does not hold it, an exception that is over. */
import { isDeepStrictEqual } from "node:util";
import type { Acknowledged } from "../check/acknowledged.ts";
import { type Finding, findingAt } from "../finding.ts";
import { idOf, type Manifest, ofKind } from "../manifests/manifest.ts";
import { peakDemand, quotaUse } from "../manifests/quota.ts";
import type { Rendering } from "../manifests/rendering.ts";
import { environmentOf } from "../tree/overlays.ts";
import type { DryRun, Refusal } from "./dry-run.ts";
import { exceptionsOf } from "./exception.ts";

/**
 * Asks an API server about some overlays, one environment after the other.
 * @param renderings those of every app of their environments
 * @param before what the overlays that are asked about rendered before the change
 * @param options.asked the overlays that are asked about
 */
export async function refusedFindings(
  dryRun: DryRun,
  renderings: readonly Rendering[],
  before: readonly Rendering[],
  { asked, acknowledged }: { asked: ReadonlySet<string>; acknowledged: Acknowledged },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const old = byEnvironment(before);
  for (const [environment, own] of byEnvironment(renderings)) {
    const overlayOf = new Map(
      own.flatMap(({ overlay, manifests }) => manifests.map((one) => [one, overlay])),
    );
    const changed = own.filter(({ overlay }) => asked.has(overlay)).flatMap(({ manifests }) => manifests);
    const were = (old.get(environment) ?? []).flatMap(({ manifests }) => manifests);
    const entered = await dryRun.enter(
      own.flatMap(({ manifests }) => manifests),
      changedObjects(were, changed),
    );
    const refused = await dryRun.ask(changed);
    // What the server had to have before is asked about once more.
    const ids = new Set(refused.map(({ manifest }) => idOf(manifest)));
    const all = [...entered.filter(({ manifest }) => !ids.has(idOf(manifest))), ...refused];
    findings.push(
      ...all.map((refusal) => findingOf(overlayOf.get(refusal.manifest) ?? "", refusal, acknowledged)),
    );
  }
  return findings;
}

/** Objects as they were that are there still, and differ. */
function changedObjects(before: readonly Manifest[], after: readonly Manifest[]): Manifest[] {
  const now = new Map(after.map((manifest) => [idOf(manifest), manifest]));
  return before.filter((manifest) => {
    const other = now.get(idOf(manifest));
    return other !== undefined && !isDeepStrictEqual(manifest, other);
  });
}

function findingOf(
  overlay: string,
  { manifest, message, policy, isOfChange = false }: Refusal,
  acknowledged: Acknowledged,
): Finding {
  if (isOfChange)
    return acknowledged.asked(
      `${overlay}/kustomization.yaml`,
      `the API server refuses the change of ${idOf(manifest)}: ${message}; somebody has to delete the object after the merge, and Argo CD makes it anew`,
      `${idOf(manifest)} is replaced`,
    );
  if (policy === undefined)
    return findingAt(
      overlay,
      `the API server refuses ${idOf(manifest)}: ${message}`,
      "correct it in the base or a patch",
    );
  const [, fact = message, remedy = "docs/policies.md"] = /^(.*); (.*)$/s.exec(message) ?? [];
  const rule = policy.replace(/^ecommerce-/, "");
  return findingAt(overlay, `the policy ${rule} refuses ${idOf(manifest)}: ${fact}`, remedy);
}

/**
 * Whether each namespace's quota holds what its workloads need when every autoscaler is at its maximum. A namespace without pods needs
 * nothing: none of its overlays differs, so they are not rendered.
 */
export function quotaFindings(renderings: readonly Rendering[]): Finding[] {
  return [...byEnvironment(renderings)].flatMap(([environment, own]) => {
    const manifests = own.flatMap((rendering) => rendering.manifests);
    return ofKind(manifests, "ResourceQuota").flatMap((quota) => {
      const demand = peakDemand(manifests, quota.metadata.namespace ?? "");
      if (demand["pods"] === 0) return [];
      return quotaUse(quota, demand)
        .filter(({ needed, hard }) => needed > hard)
        .map(({ resource, needed, hard }) =>
          findingAt(
            `overlays/${environment}/foundation`,
            `${idOf(quota)} has ${hard / 1000} of ${resource}, and ${needed / 1000} are needed when all autoscalers are at their maximum`,
            "raise it there, or lower maxReplicas",
          ),
        );
    });
  });
}

/**
 * Exceptions that are over, or that no date ends.
 * @param first the environment that builds the live base. A release takes its exceptions along, and a rollback does not wait for a date.
 */
export function exceptionFindings(
  renderings: readonly Rendering[],
  { first, now }: { first: string; now: Date },
): Finding[] {
  const today = now.toISOString().slice(0, 10);
  return renderings
    .filter(({ overlay }) => environmentOf(overlay) === first)
    .flatMap(({ overlay, manifests }) =>
      manifests.flatMap((manifest) =>
        exceptionsOf(manifest).flatMap(({ rule, until }) => {
          const object = `${idOf(manifest)} has the exception ${rule}`;
          if (until === undefined)
            return [
              findingAt(overlay, `${object} without a date and a reason`, `write "until <date>: <reason>"`),
            ];
          if (until >= today) return [];
          const remedy = "keep the rule, or give it a new date with the reason why it is still needed";
          return [findingAt(overlay, `${object}, which ended on ${until}`, remedy)];
        }),
      ),
    );
}

function byEnvironment(renderings: readonly Rendering[]): Map<string, Rendering[]> {
  const found = new Map<string, Rendering[]>();
  for (const rendering of renderings) {
    const environment = environmentOf(rendering.overlay);
    found.set(environment, [...(found.get(environment) ?? []), rendering]);
  }
  return found;
}
