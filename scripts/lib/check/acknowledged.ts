/**
 * Facts that the commits of a change acknowledge, each by a line `Acknowledges: <fact>` in a message. The line says that somebody wants
 * a dangerous change, which no machine can know. A reviewer sees it, and Git keeps the author.
 */
import { type Finding, findingIn, noteIn } from "../finding.ts";
import type { GitHistory } from "../git/history.ts";

const LINE = /^Acknowledges: *(.*?)\s*$/gm;

export class Acknowledged {
  readonly #facts: ReadonlyMap<string, string>;

  /** @param facts each with the commit that says it */
  constructor(facts: ReadonlyMap<string, string>) {
    this.#facts = facts;
  }

  /** Something that may be, when it is acknowledged: a note then, and a finding before. */
  asked(path: string, what: string, fact: string): Finding {
    const commit = this.#facts.get(fact);
    if (commit !== undefined) return noteIn(path, what, `acknowledged in ${commit.slice(0, 7)}`);
    return findingIn(
      path,
      what,
      `when that is wanted, write this line into the message of a commit of the change: Acknowledges: ${fact}`,
    );
  }
}

/** Reads them. @param left where the change left the deployed branch; undefined: there is no change */
export async function readAcknowledged(git: GitHistory, left: string | undefined): Promise<Acknowledged> {
  if (left === undefined) return new Acknowledged(new Map());
  const log = await git.git(["log", "-z", "--format=%H%n%B", `${left}..HEAD`]);
  const facts = log.split("\0").flatMap((entry) => {
    const [commit = "", ...message] = entry.split("\n");
    return [...message.join("\n").matchAll(LINE)].map(([, fact = ""]) => [fact, commit] as const);
  });
  return new Acknowledged(new Map(facts));
}
