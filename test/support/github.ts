/**
 * A stand-in for GitHub, because there is no GitHub to run here: it knows nothing but GitHub's own description of its REST API.
 * Every request is held against the description, and the answer is the description's example, or what a test gives.
 */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { json } from "node:stream/consumers";
import { Ajv } from "ajv";
import { onTestFinished } from "vitest";
import { z } from "zod";

type Schema = { [key: string]: unknown };
const Schema = z.record(z.string(), z.unknown());
const Parameter = z.object({
  name: z.string(),
  in: z.enum(["path", "query"]),
  required: z.boolean().optional(),
  schema: Schema,
});
const Answer = z.object({
  content: z.object({ "application/json": z.object({ schema: Schema, examples: Schema }) }),
});
const Operation = z.object({
  parameters: z.array(Schema),
  requestBody: z
    .object({ content: z.object({ "application/json": z.object({ schema: Schema }) }) })
    .optional(),
  responses: z.record(z.string(), Answer),
});
type Operation = z.infer<typeof Operation>;
const Description = z.object({
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.record(z.string(), Schema),
});
export type Description = z.infer<typeof Description>;

/** The part of GitHub's description that this repository uses. */
export function githubDescription(): Description {
  const file = new URL("github-openapi.json", import.meta.url);
  return Description.parse(JSON.parse(readFileSync(file, "utf8")));
}

export interface Options {
  /** What to answer instead of the example, by operation, such as `GET /repos/{owner}/{repo}`. */
  answers?: Record<string, unknown>;
  /** The status to answer with, by operation, with the description's example for it; by default the one of success. */
  statuses?: Record<string, number>;
  /** Whether to leave out of each answer what the description lets GitHub leave out, and to say null where it may. */
  barest?: boolean;
}

export interface GitHub {
  /** Of the REST API, as GitHub Enterprise has it. */
  readonly api: string;
  /** The operations that were asked for. */
  readonly operations: string[];
  /** What of the requests, or of the answers that the test gave, is not as described. */
  readonly faults: string[];
}

/** Starts the stand-in; it ends with the test. */
export async function standInForGitHub(description: Description, options: Options = {}): Promise<GitHub> {
  const operations: string[] = [];
  const faults: string[] = [];
  const checker = new Checker(description);
  const respond = async (request: IncomingMessage): Promise<{ status: number; body: unknown }> => {
    const { method = "", headers } = request;
    const url = new URL(request.url ?? "", "http://github.test");
    const found = checker.find(method, url.pathname.replace(/^\/api\/v\d/, ""));
    if (found === undefined) {
      faults.push(`${method} ${url.pathname} is no operation`);
      return { status: 404, body: { message: "Not Found" } };
    }
    const body = headers["content-type"] === undefined ? undefined : await json(request);
    operations.push(found.name);
    faults.push(...checker.faultsOf(found.operation, found.path, url.searchParams, body));
    const given = options.answers?.[found.name];
    const answer = checker.answer(found.operation, options.statuses?.[found.name], given);
    faults.push(...answer.faults.map((fault) => `${found.name} is not answered so: ${fault}`));
    if (options.barest !== true) return answer;
    return { ...answer, body: checker.barest(answer.schema, answer.body) };
  };
  const server = createServer((request, response) => {
    respond(request).then(
      ({ status, body }) =>
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body)),
      (error: unknown) => {
        faults.push(String(error));
        response.destroy();
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the stand-in does not listen");
  return { api: `http://127.0.0.1:${address.port}/api/v3`, operations, faults };
}

/** Holds values against the description. */
class Checker {
  readonly #description: Description;
  // GitHub's own keywords and formats are no part of JSON Schema.
  readonly #ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });

  constructor(description: Description) {
    this.#description = description;
    this.#ajv.addSchema({ $id: "github", components: withNull(description.components) });
  }

  find(method: string, path: string) {
    for (const [template, methods] of Object.entries(this.#description.paths)) {
      const names = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "");
      const pattern = new RegExp(`^${template.replaceAll(/\{\w+\}/g, "([^/]+)")}$`);
      const values = pattern.exec(path)?.slice(1).map(decodeURIComponent);
      const operation = methods[method.toLowerCase()];
      if (values === undefined || operation === undefined) continue;
      const parameters = new Map(names.map((name, index) => [name, values[index] ?? ""]));
      return { name: `${method} ${template}`, operation, path: parameters };
    }
    return undefined;
  }

  /** What is wrong with a request. */
  faultsOf(operation: Operation, path: Map<string, string>, query: URLSearchParams, body: unknown): string[] {
    const parameters = operation.parameters.map((parameter) => Parameter.parse(this.#resolve(parameter)));
    const of = (where: "path" | "query", values: Iterable<[string, string]>) => {
      const given = new Map(values);
      const known = parameters.filter((parameter) => parameter.in === where);
      const unknown = [...given.keys()].filter((name) => !known.some((parameter) => parameter.name === name));
      return [
        ...unknown.map((name) => `${where} parameter ${name} is unknown`),
        ...known.flatMap(({ name, required, schema }) => {
          const value = given.get(name);
          if (value === undefined) return required ? [`${where} parameter ${name} is missing`] : [];
          const typed = schema["type"] === "integer" && /^\d+$/.test(value) ? Number(value) : value;
          return this.#faults(schema, typed, `${where} parameter ${name}`);
        }),
      ];
    };
    const schema = operation.requestBody?.content["application/json"].schema;
    const ofBody = schema
      ? this.#faults(closed(schema), body, "body")
      : body === undefined
        ? []
        : ["a body is unknown"];
    return [...of("path", path), ...of("query", query), ...ofBody];
  }

  /** The example of an operation's answer, unless another is given; that one is held against the description. */
  answer(operation: Operation, status: number | undefined, given: unknown) {
    const code = status ?? Number(Object.keys(operation.responses).find((key) => key.startsWith("2")));
    const response = operation.responses[String(code)];
    // GitHub describes this one once, for all.
    if (response === undefined && code === 404)
      return { status: 404, schema: {}, body: given ?? { message: "Not Found" }, faults: [] };
    if (response === undefined) throw new Error(`there is no answer ${code}`);
    const { schema, examples } = response.content["application/json"];
    const [first] = Object.values(examples);
    const example = Schema.parse(this.#resolve(first))["value"];
    if (given === undefined) return { status: code, schema, body: example, faults: [] };
    return { status: code, schema, body: given, faults: this.#faults(schema, given, "answer") };
  }

  /** A value without all that its schema does not require, and null where it may be null. */
  barest(part: unknown, value: unknown): unknown {
    const schema = Schema.parse(this.#resolve(part));
    if (schema["nullable"] === true) return null;
    if (Array.isArray(value)) return value.map((item) => this.barest(schema["items"], item));
    const properties = Schema.safeParse(schema["properties"]);
    if (!properties.success || typeof value !== "object" || value === null) return value;
    const required = z.array(z.string()).optional().parse(schema["required"]) ?? [];
    const kept = Object.entries(value).filter(([name]) => required.includes(name) && name in properties.data);
    return Object.fromEntries(kept.map(([name, inner]) => [name, this.barest(properties.data[name], inner)]));
  }

  #faults(schema: Schema, value: unknown, what: string): string[] {
    // References in the description are to itself.
    const text = JSON.stringify(schema).replaceAll('"#/components/', '"github#/components/');
    const validate = this.#ajv.compile(Schema.parse(JSON.parse(text)));
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) =>
      `${what}${instancePath} ${message} ${Object.values(params).join(" ")}`.trim(),
    );
  }

  #resolve(part: unknown): unknown {
    const reference = Schema.safeParse(part).data?.["$ref"];
    if (typeof reference !== "string") return part;
    const steps = reference.slice("#/".length).split("/");
    return steps.reduce<unknown>((node, step) => Schema.parse(node)[step], this.#description);
  }
}

/** Schemas in JSON Schema's words: there `nullable` needs a type beside it. */
function withNull(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNull);
  if (typeof value !== "object" || value === null) return value;
  const { nullable, ...others } = Schema.parse(value);
  const inner = Object.fromEntries(Object.entries(others).map(([key, each]) => [key, withNull(each)]));
  if (nullable === undefined) return inner;
  return "type" in inner ? { ...inner, nullable } : { anyOf: [inner, { type: "null" }] };
}

/** The schema of a body in which nothing else is allowed: GitHub ignores what it does not know, and so a name that is wrong. */
function closed(schema: unknown): Schema {
  const close = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(close);
    if (typeof value !== "object" || value === null) return value;
    const inner = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, close(each)]));
    return "properties" in inner ? { additionalProperties: false, ...inner } : inner;
  };
  return Schema.parse(close(schema));
}
