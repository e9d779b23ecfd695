import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { expect, it, onTestFinished } from "vitest";
import { connectForge } from "../../../scripts/lib/forge/forge.ts";

interface Account {
  login: string;
  type?: string;
}

/** A forge with one comment, which answers in a few words. @returns what it was asked to write */
async function written(own: Account | undefined, author: Account | null, body: string): Promise<string[]> {
  const asked: string[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = "", url = "" } = request;
    const sent = await text(request);
    if (method !== "GET") asked.push(`${method} ${url.replace("/repos/shop/gitops", "")} ${sent}`);
    const isRefused = url === "/user" && own === undefined;
    const isList = url.startsWith("/repos/shop/gitops/issues/7/comments?");
    const refusal = { message: "Resource not accessible by integration" };
    const account = isRefused ? refusal : own;
    const comments = isList ? [{ id: 1, body, user: author }] : { id: 2 };
    response.writeHead(isRefused ? 403 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(url === "/user" ? account : comments));
  };
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const api = `http://127.0.0.1:${port}`;
  const forge = connectForge(
    { api, web: api, git: `${api}/shop/gitops.git`, owner: "shop", name: "gitops" },
    "a-token",
  );
  await forge.keepComment(7, { marker: "<!-- ours -->", body: "<!-- ours -->\nnew" });
  return asked;
}

const MADE = 'POST /issues/7/comments {"body":"<!-- ours -->\\nnew"}';
const CHANGED = 'PATCH /issues/comments/1 {"body":"<!-- ours -->\\nnew"}';
const OURS = "<!-- ours -->\nold";

it.each<[string, Account | undefined, Account | null, string, string[]]>([
  ["of the token's own account is changed", { login: "bot" }, { login: "bot" }, OURS, [CHANGED]],
  [
    "that says the same already is left alone",
    { login: "bot" },
    { login: "bot" },
    "<!-- ours -->\nnew\n",
    [],
  ],
  [
    "of another account is left alone, whatever it begins with",
    { login: "bot" },
    { login: "mallory" },
    OURS,
    [MADE],
  ],
  ["of an account that is gone is left alone", { login: "bot" }, null, OURS, [MADE]],
  ["about something else is left alone", { login: "bot" }, { login: "bot" }, "Looks good", [MADE]],
  [
    "of a bot is a workflow's own, whose token GitHub does not tell its account",
    undefined,
    { login: "github-actions[bot]", type: "Bot" },
    OURS,
    [CHANGED],
  ],
  ["of a person is no workflow's", undefined, { login: "mallory", type: "User" }, OURS, [MADE]],
])("a comment %s", async (_, own, author, body, expected) => {
  expect(await written(own, author, body)).toEqual(expected);
});
