/** Asks a person on a terminal for what the options have not said. */
import { createInterface } from "node:readline/promises";
import { readCatalogue } from "../tree/catalogue.ts";
import { isStore, type NewRequest } from "./request.ts";

type Asked = "port" | "schedule" | "stores" | "callers" | "owners";
type Given = Pick<NewRequest, "kind"> & { [Key in Asked]?: NewRequest[Key] | undefined };

/** @returns what was missing; a line without a word leaves it out */
export async function askMissing(root: string, given: Given): Promise<Partial<Pick<NewRequest, Asked>>> {
  const catalogue = await readCatalogue(root);
  const services = catalogue.filter(({ kind }) => kind === "service").map(({ app }) => app);
  const stores = catalogue.filter(isStore).map(({ app }) => app);
  const owners = [...new Set(catalogue.flatMap((app) => app.owners))].sort();
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const line = async (question: string) => (await terminal.question(`${question}: `)).trim();
  const list = async (question: string, known: readonly string[]) =>
    (await line(`${question} (${known.join(", ")}; with commas, or nothing)`))
      .split(/[\s,]+/)
      .filter((name) => name !== "");
  const asked: Partial<Pick<NewRequest, Asked>> = {};
  try {
    if (given.kind === "service" && given.port === undefined) asked.port = Number(await line("Its port"));
    if (given.kind === "cron-job" && given.schedule === undefined)
      asked.schedule = await line("When it runs, in UTC, as in 30 1 * * *");
    if (given.kind !== "cron-job" && given.stores === undefined)
      asked.stores = await list("Its stores", stores);
    if (given.kind === "service" && given.callers === undefined)
      asked.callers = await list("The services that call it", services);
    if (given.owners === undefined) asked.owners = await list("The teams that own it", owners);
  } finally {
    terminal.close();
  }
  return asked;
}
