/** What the gateway's controller and APISIX would make of the routes, before a cluster does. */
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import {
  idOf,
  type Manifest,
  ofKind,
  parseManifests,
  workloads,
} from "../../scripts/lib/manifests/manifest.ts";
import {
  missingReferences,
  neededReferences,
  offeredReferences,
} from "../../scripts/lib/manifests/references.ts";
import { readSettings } from "../../scripts/lib/tree/settings.ts";
import { PLUGINS } from "./gateway-plugins.ts";
import { allowed, readNetwork } from "./network.ts";
import { manifestsOf, ROOT, renderTree } from "./support.ts";

const tree = await renderTree();
const { domain } = await readSettings(ROOT);
/** Those that the gateway may call; a service of others, or a worker, has no route. */
const services = tree.catalogue
  .filter(({ kind, flows }) => kind === "service" && Object.hasOwn(flows?.from ?? {}, "gateway/apisix"))
  .map(({ app }) => app);

const PREFIX = "k8s.apisix.apache.org/";
/** Annotations that the controller knows; it ignores all others. Those of the plugins are not used: plugins/ has them. */
const ANNOTATIONS = [
  "plugin-config-name",
  "svc-namespace",
  "upstream-connect-timeout",
  "upstream-read-timeout",
  "upstream-send-timeout",
].map((name) => `${PREFIX}${name}`);

const Ingress = z.object({
  spec: z.object({
    ingressClassName: z.string(),
    tls: z.array(z.object({ hosts: z.array(z.string()), secretName: z.string() })),
    rules: z.array(
      z.object({
        host: z.string(),
        http: z.object({
          paths: z.array(
            z.object({
              path: z.string(),
              pathType: z.string(),
              backend: z.object({
                service: z.object({ name: z.string(), port: z.object({ number: z.int() }) }),
              }),
            }),
          ),
        }),
      }),
    ),
  }),
});
const Plugin = z.object({ name: z.string(), config: z.record(z.string(), z.unknown()).default({}) });
const PluginConfig = z.object({ spec: z.object({ plugins: z.array(Plugin) }) });
const Filter = z
  .object({ _meta: z.object({ filter: z.array(z.unknown()) }) })
  .transform(({ _meta: { filter } }) => filter);

const ofName = (manifests: readonly Manifest[], kind: string, name: string) =>
  manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
const all = (manifests: readonly Manifest[], kind: string) =>
  manifests.filter((manifest) => manifest.kind === kind);
const pluginsOf = (manifest: Manifest | undefined) => PluginConfig.parse(manifest).spec.plugins;

const ajv = new Ajv({ strictTypes: false });
const validators = new Map(Object.entries(PLUGINS).map(([name, schema]) => [name, ajv.compile(schema)]));

/** Everything that would keep a request from its service, or let one through that should not be, by object. */
function faultsOf(manifests: readonly Manifest[]): string[] {
  const plugins = [...all(manifests, "GatewayProxy"), ...all(manifests, "ApisixPluginConfig")].flatMap(
    (manifest) =>
      pluginsOf(manifest).flatMap(({ name, config }) => {
        const validate = validators.get(name);
        if (validate === undefined) return [`${idOf(manifest)}: ${name} has no schema`];
        if (validate(config)) return [];
        return [`${idOf(manifest)}: ${name}: ${ajv.errorsText(validate.errors, { dataVar: "" })}`];
      }),
  );
  const routes = all(manifests, "Ingress").flatMap((manifest) => {
    const fault = (text: string) => `${idOf(manifest)}: ${text}`;
    const { metadata } = manifest;
    const { spec } = Ingress.parse(manifest);
    const annotations = metadata.annotations ?? {};
    const config = annotations[`${PREFIX}plugin-config-name`] ?? "";
    const there = all(manifests, "ApisixPluginConfig").some(
      (other) => other.metadata.name === config && other.metadata.namespace === metadata.namespace,
    );
    const hosts = spec.rules.map(({ host }) => host);
    const space = annotations[`${PREFIX}svc-namespace`] ?? metadata.namespace;
    const targets = spec.rules.flatMap(({ http }) => http.paths.map(({ backend }) => backend.service));
    return [
      ...Object.keys(annotations)
        .filter((name) => name.startsWith(PREFIX) && !ANNOTATIONS.includes(name))
        .map((name) => fault(`${name} is no annotation of the controller`)),
      ...(there ? [] : [fault(`no plugin configuration ${config}`)]),
      ...(ofName(manifests, "IngressClass", spec.ingressClassName) === undefined
        ? [fault(`no class ${spec.ingressClassName}`)]
        : []),
      ...hosts
        .filter((host) => !spec.tls.some((entry) => entry.hosts.includes(host)))
        .map((host) => fault(`${host} has no certificate`)),
      ...targets
        .filter(
          ({ name, port }) =>
            !ofKind(manifests, "Service").some(
              (service) =>
                service.metadata.name === name &&
                service.metadata.namespace === space &&
                service.spec.ports.some((entry) => entry.port === port.number),
            ),
        )
        .map(({ name, port }) => fault(`no Service ${space}/${name} with port ${port.number}`)),
    ];
  });
  const secrets = missingReferences(
    neededReferences(manifests).filter(({ namespace, kind }) => namespace === "gateway" && kind === "Secret"),
    offeredReferences(manifests),
  ).map(({ name, key, neededBy }) => `${neededBy.join(", ")}: no Secret ${name}${key ? ` with ${key}` : ""}`);
  const pod = (name: string, namespace: string) => ({
    name,
    namespace,
    labels: { "app.kubernetes.io/name": name },
  });
  const strangers = [
    pod("other", "gateway"),
    pod("user-service", "microservices"),
    pod("prometheus", "monitoring"),
    { name: "internet", address: "203.0.113.10" },
    { name: "private", address: "10.1.2.3" },
  ];
  const open = strangers
    .filter((source) =>
      allowed(readNetwork(manifests), source, pod("apisix", "gateway"), { protocol: "TCP", port: 9180 }),
    )
    .map(({ name }) => `${name} reaches the admin port`);
  return [...plugins, ...routes, ...secrets, ...open];
}

describe.each(tree.environments)("the gateway of $name", ({ name: env, promotesFrom }) => {
  const manifests = manifestsOf(tree, env);
  const proxy = ofName(manifests, "GatewayProxy", "apisix");
  const settingsOf = (name: string) => pluginsOf(proxy).find((plugin) => plugin.name === name)?.config;

  it("has no fault", () => {
    expect(faultsOf(manifests)).toEqual([]);
  });

  it("has one route for each service that it may call, on the environment's host", () => {
    const routes = all(manifests, "Ingress").flatMap((manifest) =>
      Ingress.parse(manifest).spec.rules.flatMap(({ host, http }) =>
        http.paths.map(({ path, pathType, backend }) => ({ host, path, pathType, to: backend.service.name })),
      ),
    );
    const there = services.filter((app) =>
      tree.overlays.some((overlay) => overlay.env === env && overlay.app === app),
    );
    const targets = routes.map(({ to }) => to).sort();
    // Further on, a route comes with the gateway's next release.
    expect(promotesFrom === undefined ? targets : [...new Set([...targets, ...there])].sort()).toEqual(
      there.sort(),
    );
    const [host = "", ...others] = [...new Set(routes.map((route) => route.host))];
    expect(others).toEqual([]);
    expect(host === `api.${domain}` || host === `api.${env}.${domain}`).toBe(true);
    for (const { path, pathType } of routes)
      expect([path, pathType]).toEqual([expect.stringMatching(/^\/api\/v1\/[a-z]+$/), "Prefix"]);
    const shop = host.replace(/^api/, "https://shop");
    expect(settingsOf("cors")).toMatchObject({ allow_origins: shop });
  });

  it("answers 429 to more than 1000 requests a second from one address, in all pods together", () => {
    expect(settingsOf("limit-count")).toMatchObject({
      count: 1000,
      time_window: 1,
      key_type: "var",
      key: "remote_addr",
      group: expect.any(String),
      rejected_code: 429,
      policy: "redis",
      redis_host: "redis.data.svc.cluster.local",
      redis_port: 6379,
      // Without Redis the shop stays open.
      allow_degradation: true,
    });
    const entrance = ofName(manifests, "Service", "apisix");
    expect(entrance).toMatchObject({ spec: { type: "LoadBalancer", externalTrafficPolicy: "Local" } });
  });

  it("allows the shop front its methods and headers, and nobody else's", () => {
    expect(settingsOf("cors")).toMatchObject({
      allow_methods: "GET,POST,PUT,DELETE,OPTIONS",
      allow_headers: "Authorization,Content-Type",
    });
    expect(settingsOf("cors")).not.toHaveProperty("allow_credential");
  });

  it("breaks the circuit on every route", () => {
    const without = all(manifests, "ApisixPluginConfig").filter(
      (manifest) => !pluginsOf(manifest).some(({ name }) => name === "api-breaker"),
    );
    expect(without.map(idOf)).toEqual([]);
  });

  it.each([
    ["POST", "/api/v1/users/sign-in", false],
    ["POST", "/api/v1/users/sign-up", false],
    ["GET", "/api/v1/users/sign-in", true],
    ["POST", "/api/v1/users/sign-in/", true],
    ["GET", "/api/v1/users/me", true],
    ["DELETE", "/api/v1/users/7", true],
    ["GET", "/api/v1/products", false],
    ["HEAD", "/api/v1/products/7", false],
    ["POST", "/api/v1/products", true],
    ["PUT", "/api/v1/products/7", true],
    ["GET", "/api/v1/orders/7", true],
    ["POST", "/api/v1/orders", true],
    ["POST", "/api/v1/orders/payment-callbacks", false],
    ["GET", "/api/v1/orders/payment-callbacks", true],
    ["GET", "/api/v1/payments", true],
    ["POST", "/api/v1/payments/7/refunds", true],
  ])("%s %s needs a token: %s", (method, path, wanted) => {
    const route = all(manifests, "Ingress").find((manifest) =>
      Ingress.parse(manifest).spec.rules.some(({ http }) =>
        http.paths.some((entry) => path === entry.path || path.startsWith(`${entry.path}/`)),
      ),
    );
    const config = route?.metadata.annotations?.[`${PREFIX}plugin-config-name`] ?? "";
    const plugin = pluginsOf(ofName(manifests, "ApisixPluginConfig", config)).find(
      ({ name }) => name === "jwt-auth",
    );
    const filter = Filter.safeParse(plugin?.config);
    const asks = plugin !== undefined && (!filter.success || matches(filter.data, { method, path }));
    expect(asks).toBe(wanted);
  });

  it("starts APISIX with the ports of its pod, its own keys, and time to stop", () => {
    const workload = workloads(manifests).find(({ metadata }) => metadata.name === "apisix");
    const pod = workload?.spec.template.spec;
    const ports = Object.fromEntries(
      (pod?.containers[0]?.ports ?? []).map(({ name, containerPort }) => [name, containerPort]),
    );
    const map = ofKind(manifests, "ConfigMap").find(({ metadata }) =>
      metadata.name.startsWith("apisix-config-"),
    );
    const text = map?.data?.["config.yaml"] ?? "";
    const config: unknown = parse(text);
    expect(config).toMatchObject({
      deployment: {
        role: "traditional",
        role_traditional: { config_provider: "yaml" },
        admin: {
          admin_key_required: true,
          // biome-ignore lint/suspicious/noTemplateCurlyInString: APISIX puts in the variable.
          admin_key: [{ name: "admin", key: "${{APISIX_ADMIN_KEY}}", role: "admin" }],
          enable_admin_ui: false,
          admin_listen: { port: ports["admin"] },
        },
      },
      apisix: {
        node_listen: [ports["http"]],
        ssl: { listen: [{ port: ports["https"] }] },
        enable_control: false,
        status: { port: ports["status"] },
        // biome-ignore lint/suspicious/noTemplateCurlyInString: APISIX puts in the variable.
        data_encryption: { keyring: ["${{APISIX_ENCRYPTION_KEY}}"] },
      },
      nginx_config: { http: { client_max_body_size: "1m" } },
      plugin_attr: { prometheus: { export_addr: { port: ports["metrics"] } } },
    });
    const seconds = Number(/worker_shutdown_timeout: (\d+)s/.exec(text)?.[1]);
    const sleep = pod?.containers[0]?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    expect(sleep + seconds).toBeLessThan(pod?.terminationGracePeriodSeconds ?? 0);
  });

  it("logs a line of JSON without anything that may hold a token", () => {
    const map = ofKind(manifests, "ConfigMap").find(({ metadata }) =>
      metadata.name.startsWith("apisix-config-"),
    );
    const { nginx_config: nginx } = z
      .object({ nginx_config: z.object({ http: z.record(z.string(), z.unknown()) }) })
      .parse(parse(map?.data?.["config.yaml"] ?? ""));
    const format = z.string().parse(nginx.http["access_log_format"]);
    expect(nginx.http["access_log_format_escape"]).toBe("json");
    expect(Object.keys(z.record(z.string(), z.string()).parse(JSON.parse(format)))).toContain("client");
    expect(format).not.toMatch(
      /\$(request|request_uri|args|query_string|http_authorization|http_cookie|arg_\w+|cookie_\w+|http_referer|upstream_uri)\b(?!_)/,
    );
  });

  // Each breaks one object: text of it is replaced, or all of it is gone.
  it.runIf(promotesFrom === undefined).each<[string, RegExp, string, [string, string] | undefined]>([
    [
      "a misspelt property of a plugin that every route has",
      /limit-count: .*must NOT have additional properties/,
      "GatewayProxy apisix",
      ["redis_timeout", "redis_timeouts"],
    ],
    [
      "a misspelt property of a route's plugin",
      /user-service: api-breaker: .*must NOT have additional properties/,
      "ApisixPluginConfig user-service",
      ["max_breaker_sec", "max_breaker_seconds"],
    ],
    [
      "a password in clear",
      /limit-count: .*redis_password must match pattern/,
      "GatewayProxy apisix",
      ["$ENV://REDIS_PASSWORD", "hunter2hunter2"],
    ],
    [
      "an open origin",
      /cors: .*allow_origins must match pattern/,
      "GatewayProxy apisix",
      ["https://shop.", "*."],
    ],
    [
      "a route without its plugin configuration",
      /Ingress gateway\/order-service: no plugin configuration order-service/,
      "ApisixPluginConfig order-service",
      undefined,
    ],
    [
      "a misspelt annotation",
      /svc-namespaces is no annotation/,
      "Ingress user-service",
      ["svc-namespace", "svc-namespaces"],
    ],
    [
      "a route to a Service that is not there",
      /no Service microservices\/user-service with port 8080/,
      "Service user-service",
      undefined,
    ],
    ["no certificate", /no Secret gateway-tls/, "SopsSecret gateway-tls", undefined],
    ["no admin key", /no Secret gateway-admin with admin-key/, "SopsSecret gateway-admin", undefined],
    [
      "an admin port that is open to all",
      /internet reaches the admin port/,
      "NetworkPolicy apisix",
      ['{"port":9443}', '{"port":9443},{"port":9180}'],
    ],
  ])("%s is a fault", (_, fault, broken, edit) => {
    const mutant = manifests.flatMap((manifest) => {
      if (`${manifest.kind} ${manifest.metadata.name}` !== broken) return [manifest];
      const text = JSON.stringify(manifest);
      return edit === undefined ? [] : parseManifests(text.replace(...edit));
    });
    expect(mutant).not.toEqual(manifests);
    expect(faultsOf(mutant).join("\n")).toMatch(fault);
  });
});

/** What lua-resty-expr makes of the operators that the routes use. */
function matches(filter: readonly unknown[], request: { method: string; path: string }): boolean {
  const [first, ...rest] = filter;
  if (first === "!AND") return !rest.every((part) => matches([part], request));
  return filter.every((condition) => {
    const [subject, ...more] = z.array(z.unknown()).parse(condition);
    const value = subject === "request_method" ? request.method : request.path;
    const negated = more[0] === "!";
    const [operator, operand] = negated ? more.slice(1) : more;
    if (operator !== "==" && operator !== "in")
      throw new Error(`operator ${String(operator)} is not understood`);
    const holds = operator === "==" ? operand === value : z.array(z.string()).parse(operand).includes(value);
    return negated ? !holds : holds;
  });
}
