/** Releases without objects: Argo CD says Healthy of them, and nothing runs. */
import { type Finding, findingIn } from "../finding.ts";
import { GitHistory } from "../git/history.ts";
import type { ProvenanceScope } from "./provenance.ts";

/**
 * Looks for them.
 * @param root the repository's root directory
 * @returns a finding for each, in the order of the paths
 */
export async function emptyReleases(root: string, { head, paths }: ProvenanceScope): Promise<Finding[]> {
  const git = new GitHistory(root);
  const found: Finding[] = [];
  for (const path of paths) {
    const text = (await git.read(head, path))?.text;
    // Its head is comments.
    if (text === undefined || /^[^#\s]/m.test(text)) continue;
    const way = `add them to base/${path.split("/")[2]} and promote again, or remove the directory`;
    found.push(findingIn(path, "the release has no objects, and would be called Healthy", way));
  }
  return found;
}
