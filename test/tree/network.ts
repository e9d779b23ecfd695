/**
 * Who may talk to whom under a set of NetworkPolicies, as a network plugin would decide it. What it does not understand is an
 * error: a flow that is not seen would be a flow that nobody has allowed.
 */
import { z } from "zod";
import { idOf, type Manifest, ofKind } from "../../scripts/lib/manifests/manifest.ts";

/** A pod, or (without a namespace) an address outside of the cluster. */
export interface Endpoint {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  address?: string;
}

const labels = z.record(z.string(), z.string());
const Selector = z.strictObject({
  matchLabels: labels.default({}),
  matchExpressions: z
    .array(z.strictObject({ key: z.string(), operator: z.literal("In"), values: z.array(z.string()) }))
    .default([]),
});
const Peer = z.strictObject({
  namespaceSelector: Selector.optional(),
  podSelector: Selector.optional(),
  ipBlock: z.strictObject({ cidr: z.cidrv4(), except: z.array(z.cidrv4()).default([]) }).optional(),
});
const ports = z
  .array(
    z.strictObject({
      protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
      // Not by name: that would be another port in each pod.
      port: z.int().optional(),
      endPort: z.int().optional(),
    }),
  )
  .default([]);
const peers = z.array(Peer).default([]);
const Spec = z.strictObject({
  podSelector: Selector,
  policyTypes: z.array(z.enum(["Ingress", "Egress"])),
  ingress: z.array(z.strictObject({ from: peers, ports })).default([]),
  egress: z.array(z.strictObject({ to: peers, ports })).default([]),
});
type Selector = z.infer<typeof Selector>;
type Peer = z.infer<typeof Peer>;
type Ports = z.infer<typeof ports>;

interface Policy {
  id: string;
  namespace: string;
  podSelector: Selector;
  /** By direction; undefined: the policy says nothing about it. */
  Ingress: Rule[] | undefined;
  Egress: Rule[] | undefined;
}

/** Empty lists mean everybody, and every port. */
interface Rule {
  peers: Peer[];
  ports: Ports;
}

export interface Port {
  protocol: string;
  /** `ANY` stands for all that no policy names. */
  port: number;
}

const ANY = 0;

export interface Network {
  policies: Policy[];
  namespaces: Map<string, Record<string, string>>;
  /** Every port that makes a difference. */
  ports: Port[];
}

/**
 * Reads what manifests say.
 * @throws ZodError for a policy with a field or a value that is not understood here
 */
export function readNetwork(manifests: readonly Manifest[]): Network {
  const policies = manifests
    .filter(({ kind }) => kind === "NetworkPolicy")
    .map((manifest): Policy => {
      const { spec } = z.looseObject({ spec: Spec }).parse(manifest);
      const rules = (direction: "Ingress" | "Egress", found: Rule[]) =>
        spec.policyTypes.includes(direction) ? found : undefined;
      return {
        id: idOf(manifest),
        namespace: manifest.metadata.namespace ?? "",
        podSelector: spec.podSelector,
        Ingress: rules(
          "Ingress",
          spec.ingress.map(({ from, ports: named }) => ({ peers: from, ports: named })),
        ),
        Egress: rules(
          "Egress",
          spec.egress.map(({ to, ports: named }) => ({ peers: to, ports: named })),
        ),
      };
    });
  const namespaces = new Map(
    ofKind(manifests, "Namespace").map(({ metadata }) => [metadata.name, metadata.labels ?? {}]),
  );
  const rules = policies.flatMap(({ Ingress = [], Egress = [] }) => [...Ingress, ...Egress]);
  const named = rules.flatMap((rule) =>
    rule.ports.flatMap(({ protocol, port, endPort }) =>
      [port, endPort].flatMap((number) => (number === undefined ? [] : [{ protocol, port: number }])),
    ),
  );
  const all = [...["TCP", "UDP", "SCTP"].map((protocol) => ({ protocol, port: ANY })), ...named];
  const once = new Map(all.map((entry) => [describePort(entry), entry]));
  return { policies, namespaces, ports: [...once.values()].toSorted((one, other) => one.port - other.port) };
}

/** `8080`, `UDP/53`, or `*` for all that no policy names. */
export function describePort({ protocol, port }: Port): string {
  return `${protocol === "TCP" ? "" : `${protocol}/`}${port === ANY ? "*" : port}`;
}

/** Whether the policies let a connection through, at both of its ends. */
export function allowed(network: Network, source: Endpoint, target: Endpoint, port: Port): boolean {
  return passes(network, "Egress", source, target, port) && passes(network, "Ingress", target, source, port);
}

/** Whether any policy applies to an endpoint in both directions. */
export function isClosed({ policies }: Network, endpoint: Endpoint): boolean {
  return policies.some((policy) => policy.namespace === endpoint.namespace);
}

/** The policies that name somebody who is none of some endpoints: what they allow shows in no flow between those. */
export function strangers(network: Network, endpoints: readonly Endpoint[]): string[] {
  return network.policies
    .filter(({ namespace, podSelector, Ingress = [], Egress = [] }) => {
      const isSomebody = (matches: (endpoint: Endpoint) => boolean) => endpoints.some(matches);
      const subject = (endpoint: Endpoint) =>
        endpoint.namespace === namespace && fits(podSelector, endpoint.labels);
      const named = [...Ingress, ...Egress].flatMap((rule) => rule.peers);
      return !(
        isSomebody(subject) &&
        named.every((peer) => isSomebody((endpoint) => isPeer(network, peer, namespace, endpoint)))
      );
    })
    .map(({ id }) => id);
}

function passes(
  network: Network,
  direction: "Ingress" | "Egress",
  subject: Endpoint,
  other: Endpoint,
  port: Port,
): boolean {
  if (subject.namespace === undefined) return true;
  const mine = network.policies.filter(
    (policy) =>
      policy.namespace === subject.namespace &&
      policy[direction] !== undefined &&
      fits(policy.podSelector, subject.labels),
  );
  if (mine.length === 0) return true;
  return mine.some((policy) =>
    (policy[direction] ?? []).some(
      (rule) =>
        (rule.peers.length === 0 ||
          rule.peers.some((peer) => isPeer(network, peer, policy.namespace, other))) &&
        (rule.ports.length === 0 || rule.ports.some((entry) => covers(entry, port))),
    ),
  );
}

function covers(
  { protocol, port: first, endPort: last = first }: Ports[number],
  { port, ...other }: Port,
): boolean {
  if (protocol !== other.protocol) return false;
  return first === undefined || (port >= first && port <= (last ?? first));
}

function isPeer(
  { namespaces }: Network,
  { ipBlock, namespaceSelector, podSelector }: Peer,
  home: string,
  other: Endpoint,
): boolean {
  if (ipBlock !== undefined) {
    const { address } = other;
    if (address === undefined) return false;
    return within(address, ipBlock.cidr) && !ipBlock.except.some((cidr) => within(address, cidr));
  }
  if (other.namespace === undefined) return false;
  const own = { ...namespaces.get(other.namespace), "kubernetes.io/metadata.name": other.namespace };
  const near = namespaceSelector === undefined ? other.namespace === home : fits(namespaceSelector, own);
  return near && (podSelector === undefined || fits(podSelector, other.labels));
}

function fits({ matchLabels, matchExpressions }: Selector, found: Record<string, string> = {}): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => found[key] === value) &&
    matchExpressions.every(({ key, values }) => values.includes(found[key] ?? ""))
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
