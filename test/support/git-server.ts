/** Git over HTTP, as a forge has it, by git's own `http-backend`: repositories behind one token. */
import { spawn } from "node:child_process";
import { createServer } from "node:http";

export interface GitServer {
  /** Of all repositories, without a slash at its end. */
  readonly url: string;
  readonly token: string;
  readonly stop: () => void;
}

/** Serves a directory of bare repositories. */
export async function serveGit(directory: string): Promise<GitServer> {
  const token = "the-token";
  const credential = `Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
  const server = createServer((request, response) => {
    if (request.headers.authorization !== credential) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
      return;
    }
    const { pathname, search } = new URL(request.url ?? "", "http://127.0.0.1");
    const child = spawn("git", ["http-backend"], {
      stdio: ["pipe", "pipe", "ignore"],
      env: {
        PATH: process.env["PATH"],
        GIT_CONFIG_GLOBAL: "/dev/null",
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_CONFIG_COUNT: "2",
        GIT_CONFIG_KEY_0: "http.receivepack",
        GIT_CONFIG_VALUE_0: "true",
        GIT_CONFIG_KEY_1: "safe.directory",
        GIT_CONFIG_VALUE_1: "*",
        GIT_PROJECT_ROOT: directory,
        GIT_HTTP_EXPORT_ALL: "1",
        GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
        REQUEST_METHOD: request.method,
        PATH_INFO: pathname,
        QUERY_STRING: search.slice(1),
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
        REMOTE_USER: "test",
      },
    });
    request.pipe(child.stdin);
    const pieces: Buffer[] = [];
    child.stdout.on("data", (piece: Buffer) => pieces.push(piece));
    child.once("close", () => {
      const answer = Buffer.concat(pieces);
      const end = answer.indexOf("\r\n\r\n");
      const fields = answer.toString("latin1", 0, end).split("\r\n");
      const headers = fields.map((field): [string, string] => {
        const colon = field.indexOf(": ");
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 2)];
      });
      const { status = "200", ...others } = Object.fromEntries(headers);
      response.writeHead(Number.parseInt(status, 10), others).end(answer.subarray(end + 4));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server does not listen");
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${address.port}`, token, stop };
}
