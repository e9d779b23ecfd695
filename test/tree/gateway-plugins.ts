/**
 * The configuration of the gateway's plugins, as the documentation of APISIX 3.18 has it (docs/en/latest/plugins). Stricter than
 * APISIX itself, which takes a misspelt property and goes on without it.
 */

/** The plugin runs only for requests that match: https://apisix.apache.org/docs/apisix/terminology/plugin/ */
const meta = {
  type: "object",
  additionalProperties: false,
  properties: { filter: { type: "array", minItems: 1 } },
};

const closed = (properties: object, required: readonly string[] = []) => ({
  type: "object",
  additionalProperties: false,
  properties: { ...properties, _meta: meta },
  required,
});

const text = { type: "string", minLength: 1 };
const count = { type: "integer", minimum: 1 };
const statuses = (minimum: number, maximum: number) => ({
  type: "array",
  minItems: 1,
  uniqueItems: true,
  items: { type: "integer", minimum, maximum },
});

export const PLUGINS: Record<string, object> = {
  "api-breaker": closed(
    {
      break_response_code: { type: "integer", minimum: 200, maximum: 599 },
      max_breaker_sec: { type: "integer", minimum: 3 },
      unhealthy: {
        type: "object",
        additionalProperties: false,
        properties: { http_statuses: statuses(500, 599), failures: count },
      },
      healthy: {
        type: "object",
        additionalProperties: false,
        properties: { http_statuses: statuses(200, 499), successes: count },
      },
    },
    ["break_response_code"],
  ),
  cors: closed({
    // No wildcard: exactly named origins.
    allow_origins: { type: "string", pattern: "^https://[a-z0-9.-]+(,https://[a-z0-9.-]+)*$" },
    allow_methods: text,
    allow_headers: text,
    expose_headers: text,
    max_age: { type: "integer" },
    allow_credential: { type: "boolean" },
  }),
  "jwt-auth": closed({
    header: text,
    query: text,
    cookie: text,
    hide_credentials: { type: "boolean" },
    key_claim_name: text,
    store_in_ctx: { type: "boolean" },
    claims_to_verify: { type: "array", uniqueItems: true, items: { enum: ["exp", "nbf"] } },
  }),
  "limit-count": closed(
    {
      count,
      time_window: count,
      key_type: { enum: ["var", "var_combination", "constant"] },
      key: text,
      group: text,
      rejected_code: { type: "integer", minimum: 200, maximum: 599 },
      // "local" counts each pod by itself.
      policy: { const: "redis" },
      redis_host: { type: "string", minLength: 2 },
      redis_port: count,
      // Never in clear.
      redis_password: { type: "string", pattern: "^\\$ENV://[A-Z_]+$" },
      redis_database: { type: "integer", minimum: 0 },
      redis_timeout: count,
      allow_degradation: { type: "boolean" },
      show_limit_quota_header: { type: "boolean" },
    },
    ["count", "time_window", "policy", "redis_host", "rejected_code"],
  ),
  prometheus: closed({ prefer_name: { type: "boolean" } }),
  redirect: closed({ http_to_https: { type: "boolean" } }, ["http_to_https"]),
  "request-id": closed({
    header_name: text,
    include_in_response: { type: "boolean" },
    algorithm: { enum: ["uuid", "nanoid", "range_id", "ksuid", "uuidv7"] },
  }),
};
