import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { argocdToken, configuredEnvironment } from "../../../scripts/lib/sandbox/argocd-processes.ts";

const INSTALL = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: applications.argoproj.io
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: argocd-application-controller
spec:
  template:
    spec:
      containers:
        - name: controller
          env:
            - name: ARGOCD_RECONCILIATION_TIMEOUT
              valueFrom: {configMapKeyRef: {name: argocd-cm, key: timeout.reconciliation, optional: true}}
            - name: ARGOCD_SYNC_TIMEOUT
              valueFrom: {configMapKeyRef: {name: argocd-cmd-params-cm, key: controller.sync.timeout.seconds}}
            - name: ARGOCD_OTHER
              valueFrom: {configMapKeyRef: {name: argocd-cmd-params-cm, key: not.set, optional: true}}
            - name: REDIS_PASSWORD
              valueFrom: {secretKeyRef: {name: argocd-redis, key: auth}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: argocd-redis
spec:
  template:
    spec:
      containers:
        - name: redis
`;
const CONFIG = `
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm}
data: {timeout.reconciliation: 120s}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cmd-params-cm}
data: {controller.sync.timeout.seconds: "1800"}
---
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: platform}
`;

describe("the environment of Argo CD's components", () => {
  it("has what the ConfigMaps set, under the names of Argo CD's own manifests", () => {
    expect(configuredEnvironment(INSTALL, CONFIG)).toEqual(
      new Map([
        [
          "argocd-application-controller",
          { ARGOCD_RECONCILIATION_TIMEOUT: "120s", ARGOCD_SYNC_TIMEOUT: "1800" },
        ],
        ["argocd-redis", {}],
      ]),
    );
  });
});

describe("the sandbox's token", () => {
  const state = { ports: {}, credentials: { "argocd-server-key": "key", "argocd-token-id": "id" } };
  const [header = "", claims = "", signature] = argocdToken(state).split(".");
  const decode = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString());

  it("is a JWT for the account's API key, signed with the server's key", () => {
    expect(decode(header)).toEqual({ alg: "HS256", typ: "JWT" });
    expect(decode(claims)).toMatchObject({ iss: "argocd", sub: "sandbox:apiKey", jti: "id" });
    expect(signature).toBe(createHmac("sha256", "key").update(`${header}.${claims}`).digest("base64url"));
  });

  it("is the same at every start", () => {
    expect(argocdToken(state)).toBe(argocdToken(state));
  });
});
