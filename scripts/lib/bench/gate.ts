/** A gate in front of a forge: git's first look at the repository is held until everybody is there, so that all go at once. */
import { request as call, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { ExternalError } from "../errors.ts";

export interface Gate {
  /** Takes the place of the forge. */
  readonly url: string;
  /** How many wait before it. */
  waiting(): number;
  /** Lets everybody pass, from now on. */
  open(): void;
  close(): Promise<void>;
}

/** Opens a gate in front of a forge, closed. */
export async function gateTo(forge: string): Promise<Gate> {
  const held: (() => void)[] = [];
  let isOpen = false;
  const server = createServer((incoming, outgoing) => {
    const pass = () => forward(forge, incoming, outgoing);
    if (isOpen || !incoming.url?.includes("service=git-upload-pack")) pass();
    else held.push(pass);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new ExternalError("the gate has no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    waiting: () => held.length,
    open() {
      isOpen = true;
      for (const pass of held.splice(0)) pass();
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function forward(forge: string, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { method, url: path, headers } = incoming;
  const { hostname: host, port } = new URL(forge);
  const request = call({ host, port, method, path, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  request.once("error", () => outgoing.destroy());
  incoming.pipe(request);
}
