/** The labels of a repository and of its pull requests. */
import { z } from "zod";
import { ExternalError } from "../errors.ts";
import { answerOf, type ForgeCalls } from "./call.ts";
import { Label } from "./response-schema.ts";

/** What is to be done about the labels of a pull request. */
export interface LabelChange {
  missing: readonly string[];
  surplus: readonly Label[];
}

const REPOSITORY = "/repos/{owner}/{repo}/labels";
const PULL = "/repos/{owner}/{repo}/issues/{number}/labels";
/** GitHub's own for a label that is made by being used; Gitea wants one said. */
const COLOR = "ededed";

/**
 * Compares labels. Those that are neither wanted nor unwanted are somebody else's.
 * @param worn what the pull request has
 * @param unwanted what has to go
 */
export function labelChange(
  worn: readonly Label[],
  wanted: readonly string[],
  unwanted: readonly string[],
): LabelChange {
  const surplus = new Set(unwanted.map((name) => name.toLowerCase()));
  return {
    missing: without(wanted, worn),
    surplus: worn.filter(({ name }) => surplus.has(name.toLowerCase())),
  };
}

/** All labels of the repository, where their numbers are needed; else none. */
export async function repositoryLabels({ differences, list }: ForgeCalls): Promise<Label[]> {
  return differences.hasLabelIds ? list(`GET ${REPOSITORY}`, {}, Label) : [];
}

/**
 * Puts labels on a pull request and takes others off.
 * @param known as `repositoryLabels` gave them
 * @throws ExternalError when the forge leaves one out without a word
 */
export async function changeLabels(
  calls: ForgeCalls,
  number: number,
  { missing, surplus }: LabelChange,
  known: readonly Label[],
): Promise<void> {
  const { address, call, differences } = calls;
  for (const label of surplus) await takeOff(calls, number, label);
  if (missing.length === 0) return;
  // GitHub makes a label that it does not have, for a token that may write issues. Gitea leaves it out without a word, and
  // knows two of one name.
  const labels = differences.hasLabelIds ? await labelIds(calls, missing, known) : missing;
  const worn = await call(`POST ${PULL}`, { number, labels }, z.array(Label), { repeatable: true });
  const [lost] = without(missing, worn);
  if (lost !== undefined) {
    const { host } = new URL(address.api);
    throw new ExternalError(`${host} does not put the label ${lost} on #${number}`, "run it again");
  }
}

/** Takes a label off that somebody else may just have taken off. */
async function takeOff({ call, differences }: ForgeCalls, number: number, label: Label): Promise<void> {
  try {
    await call(`DELETE ${PULL}/{label}`, { number, label: differences.labelKey(label) }, z.unknown());
  } catch (error) {
    if (answerOf(error)?.status !== 404) throw error;
  }
}

/** The names that none of the labels has. GitHub's names are the same in capitals, so no forge gets both. */
function without(names: readonly string[], labels: readonly Label[]): string[] {
  const there = new Set(labels.map((label) => label.name.toLowerCase()));
  return [...new Set(names)].filter((name) => !there.has(name.toLowerCase()));
}

/** Gitea's ids of labels, which are made where they are missing. */
async function labelIds(
  calls: ForgeCalls,
  names: readonly string[],
  known: readonly Label[],
): Promise<number[]> {
  const { call } = calls;
  const made: Label[] = [];
  for (const name of without(names, known)) {
    made.push(await call(`POST ${REPOSITORY}`, { name, color: COLOR }, Label));
  }
  // Another run may have made the same one meanwhile. The older one counts for both, and each takes its own back.
  const labels = made.length === 0 ? known : [...made, ...(await repositoryLabels(calls))];
  const ids = names.map((name) => {
    const same = labels.filter((label) => label.name.toLowerCase() === name.toLowerCase());
    return Math.min(...same.map(({ id }) => id));
  });
  for (const { id } of made.filter((label) => !ids.includes(label.id))) {
    await call("DELETE /repos/{owner}/{repo}/labels/{id}", { id }, z.unknown());
  }
  return ids;
}
