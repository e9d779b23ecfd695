/** The network policies of a new app, and its ends in those of others. */
import { type Document, isMap, isSeq } from "yaml";
import type { App } from "../tree/catalogue.ts";
import { edited, listAt } from "./template.ts";

export type End = Pick<App, "app" | "namespace">;

/** What a flow looks like from one of its ends. */
export interface Flow {
  /** The other end. */
  end: End;
  port: number;
  /** What it is for, where the names do not say it. */
  comment?: string;
}

const NAME = "app.kubernetes.io/name";
const NAMESPACE = "kubernetes.io/metadata.name";

function peer(from: string, { app, namespace }: End): object {
  const podSelector = { matchLabels: { [NAME]: app } };
  return namespace === from
    ? { podSelector }
    : { namespaceSelector: { matchLabels: { [NAMESPACE]: namespace } }, podSelector };
}

/** The policy of an app: who comes in, and where it goes. */
export function policyOf(
  { app, namespace }: End,
  { from, to }: { from: readonly Flow[]; to: readonly Flow[] },
): string {
  const rules = (key: "from" | "to", flows: readonly Flow[]) =>
    flows.map(({ end, port }) => ({ [key]: [peer(namespace, end)], ports: [{ port }] }));
  const policy = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: app },
    spec: {
      podSelector: { matchLabels: { [NAME]: app } },
      policyTypes: ["Ingress", "Egress"],
      ...(from.length === 0 ? {} : { ingress: rules("from", from) }),
      ...(to.length === 0 ? {} : { egress: rules("to", to) }),
    },
  };
  return edited("{}", (document) => {
    document.contents = document.createNode(policy);
    for (const [key, flows] of [
      ["ingress", from],
      ["egress", to],
    ] as const)
      for (const [index, { comment }] of flows.entries())
        if (comment !== undefined) commentOn(document, ["spec", key, index], comment);
  });
}

function commentOn(document: Document, path: readonly (string | number)[], comment: string): void {
  const node: unknown = document.getIn(path, true);
  if (isMap(node)) node.commentBefore = ` ${comment}`;
}

/** Lets an app go to another one, too. */
export function withEgress(text: string, file: string, { namespace }: End, { end, port }: Flow): string {
  return edited(text, (document) => {
    const rules = listAt(document, file, ["spec", "egress"]);
    rules.add(document.createNode({ to: [peer(namespace, end)], ports: [{ port }] }));
  });
}

/** Lets another app come to this one, too: in the rule for its neighbours, where there is one. */
export function withIngress(text: string, file: string, { namespace }: End, { end, port }: Flow): string {
  return edited(text, (document) => {
    const rules = listAt(document, file, ["spec", "ingress"]);
    for (const index of rules.items.keys()) {
      const rule = ["spec", "ingress", index];
      const place = namespace === end.namespace ? undefined : end.namespace;
      const values: unknown = document.getIn(
        [...rule, "from", 0, "podSelector", "matchExpressions", 0, "values"],
        true,
      );
      if (
        isSeq(values) &&
        document.getIn([...rule, "from", 0, "namespaceSelector", "matchLabels", NAMESPACE]) === place &&
        document.getIn([...rule, "ports", 0, "port"]) === port
      ) {
        values.add(end.app);
        return;
      }
    }
    rules.add(document.createNode({ from: [peer(namespace, end)], ports: [{ port }] }));
  });
}
