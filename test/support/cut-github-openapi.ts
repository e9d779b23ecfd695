/**
 * Cuts the operations that this repository uses out of GitHub's description of its REST API; the whole package has 475 MB.
 *
 *     npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
 *     node scripts/run.js ../test/support/cut-github-openapi package/generated/api.github.com.json '@octokit/openapi 23.0.2'
 *     npm run format
 *
 * What is left is as it was, but for texts for people, answers without an example, and media types other than JSON.
 */
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

const PULL = "/repos/{owner}/{repo}/pulls/{pull_number}";
const ISSUE = "/repos/{owner}/{repo}/issues/{issue_number}";
const OPERATIONS: [method: string, path: string][] = [
  ["get", "/repos/{owner}/{repo}"],
  ["get", "/repos/{owner}/{repo}/pulls"],
  ["post", "/repos/{owner}/{repo}/pulls"],
  ["get", PULL],
  ["patch", PULL],
  ["put", `${PULL}/merge`],
  ["post", `${PULL}/requested_reviewers`],
  ["post", `${ISSUE}/labels`],
  ["delete", `${ISSUE}/labels/{name}`],
  ["get", `${ISSUE}/comments`],
  ["post", `${ISSUE}/comments`],
  ["patch", "/repos/{owner}/{repo}/issues/comments/{comment_id}"],
  ["get", "/user"],
  ["get", "/repos/{owner}/{repo}/branches/{branch}"],
  ["get", "/repos/{owner}/{repo}/branches/{branch}/protection"],
  ["get", "/repos/{owner}/{repo}/contents/{path}"],
  ["get", "/repos/{owner}/{repo}/rules/branches/{branch}"],
  ["get", "/repos/{owner}/{repo}/rulesets/{ruleset_id}"],
  ["get", "/repos/{owner}/{repo}/commits/{ref}/statuses"],
  ["get", "/repos/{owner}/{repo}/compare/{basehead}"],
];

const Node = z.record(z.string(), z.unknown());
type Node = z.infer<typeof Node>;

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The place in a document that a reference such as `#/components/schemas/label` names. */
function steps(reference: string): string[] {
  return reference.slice(2).split("/");
}

function lookUp(document: Node, reference: string): unknown {
  return steps(reference).reduce<unknown>((node, step) => (isNode(node) ? node[step] : undefined), document);
}

function child(node: Node, step: string): Node {
  const found = node[step];
  if (isNode(found)) return found;
  const made: Node = {};
  node[step] = made;
  return made;
}

/** A copy without texts for people; values that are examples stay whole. */
function withoutTexts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutTexts);
  if (!isNode(value)) return value;
  const kept = Object.entries(value).filter(
    ([key, inner]) =>
      !(typeof inner === "string" && ["description", "summary", "title", "operationId"].includes(key)) &&
      !["example", "externalDocs", "x-github", "tags", "deprecated"].includes(key),
  );
  return Object.fromEntries(kept.map(([key, inner]) => [key, key === "value" ? inner : withoutTexts(inner)]));
}

/** Copies what a part of the document refers to, and what that refers to. */
function follow(document: Node, part: unknown, into: Node): void {
  if (Array.isArray(part)) for (const inner of part) follow(document, inner, into);
  if (!isNode(part)) return;
  for (const [key, inner] of Object.entries(part)) {
    if (key !== "$ref" || typeof inner !== "string") follow(document, inner, into);
    else if (lookUp(into, inner) === undefined) {
      const found = withoutTexts(lookUp(document, inner));
      const path = steps(inner);
      const last = path.pop() ?? "";
      const parent = path.reduce(child, into);
      parent[last] = found;
      follow(document, found, into);
    }
  }
}

function operation(document: Node, method: string, path: string): Node {
  const found = Node.parse(Node.parse(Node.parse(document["paths"])[path])[method]);
  const json = (holder: Node) => ({
    ...holder,
    content: { "application/json": Node.parse(holder["content"])["application/json"] },
  });
  const answers = Object.entries(Node.parse(found["responses"])).filter(
    ([, answer]) => isNode(answer) && "content" in answer,
  );
  return Node.parse(
    withoutTexts({
      parameters: found["parameters"],
      ...(isNode(found["requestBody"]) ? { requestBody: json(found["requestBody"]) } : {}),
      responses: Object.fromEntries(answers.map(([status, answer]) => [status, json(Node.parse(answer))])),
    }),
  );
}

const [file = "", source = ""] = process.argv.slice(2);
const text = await readFile(file, "utf8");
const document = Node.parse(JSON.parse(text));
const paths: Record<string, Node> = {};
const cut: Node = {
  openapi: document["openapi"],
  info: {
    title: "GitHub v3 REST API: the operations that this repository uses",
    license: Node.parse(document["info"])["license"],
    "x-cut-from": {
      source,
      file: file.split("/").at(-1),
      sha256: createHash("sha256").update(text).digest("hex"),
    },
  },
  paths,
};
for (const [method, path] of OPERATIONS) {
  const part = operation(document, method, path);
  (paths[path] ??= {})[method] = part;
  follow(document, part, cut);
}
await writeFile(join(repositoryRoot(), "test/support/github-openapi.json"), JSON.stringify(cut, null, 2));
