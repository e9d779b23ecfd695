/** Who may talk to whom under a set of NetworkPolicies, as a network plugin would decide it. */
import { type Manifest, selects } from "../../scripts/lib/manifests/manifest.ts";

/** A pod, or (without a namespace) an address outside of the cluster. */
export interface Endpoint {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  address?: string;
}

interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values: string[] }[];
}

interface Peer {
  namespaceSelector?: Selector;
  podSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}

interface Rule {
  from?: Peer[];
  to?: Peer[];
  ports?: { port: number }[];
}

interface NetworkPolicy extends Manifest {
  spec: { podSelector: Selector; policyTypes: string[]; ingress?: Rule[]; egress?: Rule[] };
}

/** Whether the policies let a connection through, at both of its ends. */
export function allowed(
  manifests: readonly Manifest[],
  source: Endpoint,
  target: Endpoint,
  port: number,
): boolean {
  const policies = manifests.filter(
    (manifest): manifest is NetworkPolicy => manifest.kind === "NetworkPolicy",
  );
  return (
    passes(policies, "Egress", source, target, port) && passes(policies, "Ingress", target, source, port)
  );
}

/** Whether any policy applies to an endpoint in both directions. */
export function isClosed(manifests: readonly Manifest[], { namespace }: Endpoint): boolean {
  return manifests.some(({ kind, metadata }) => kind === "NetworkPolicy" && metadata.namespace === namespace);
}

function passes(
  policies: readonly NetworkPolicy[],
  direction: "Ingress" | "Egress",
  subject: Endpoint,
  other: Endpoint,
  port: number,
): boolean {
  if (subject.namespace === undefined) return true;
  const mine = policies.filter(
    ({ metadata, spec }) =>
      metadata.namespace === subject.namespace &&
      spec.policyTypes.includes(direction) &&
      matches(spec.podSelector, subject.labels),
  );
  if (mine.length === 0) return true;
  return mine.some(({ metadata, spec }) =>
    (direction === "Ingress" ? (spec.ingress ?? []) : (spec.egress ?? [])).some((rule) => {
      const peers = direction === "Ingress" ? rule.from : rule.to;
      const there = peers === undefined || peers.some((peer) => isPeer(peer, metadata.namespace, other));
      return there && (rule.ports === undefined || rule.ports.some((entry) => entry.port === port));
    }),
  );
}

function isPeer(
  { ipBlock, namespaceSelector, podSelector }: Peer,
  home: string | undefined,
  other: Endpoint,
): boolean {
  if (ipBlock !== undefined) {
    if (other.address === undefined) return false;
    return (
      within(other.address, ipBlock.cidr) &&
      !(ipBlock.except ?? []).some((cidr) => within(other.address ?? "", cidr))
    );
  }
  if (other.namespace === undefined) return false;
  const near =
    namespaceSelector === undefined
      ? other.namespace === home
      : matches(namespaceSelector, { "kubernetes.io/metadata.name": other.namespace });
  return near && matches(podSelector ?? {}, other.labels);
}

function matches(
  { matchLabels = {}, matchExpressions = [] }: Selector,
  labels: Record<string, string> = {},
): boolean {
  return (
    selects(matchLabels, labels) &&
    matchExpressions.every(({ key, operator, values }) => {
      if (operator !== "In") throw new Error(`operator ${operator} is not understood`);
      return values.includes(labels[key] ?? "");
    })
  );
}

function within(address: string, cidr: string): boolean {
  const [base = "", length = "32"] = cidr.split("/");
  const size = 2 ** (32 - Number(length));
  return Math.floor(toNumber(address) / size) === Math.floor(toNumber(base) / size);
}

function toNumber(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}
