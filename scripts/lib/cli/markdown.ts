/** Markdown as forges show it. */

/** Characters of a pull request's body: GitHub takes 65,536; Gitea more. */
export const LONGEST_BODY = 60_000;

/** What comes from other repositories is text: no mentions, links or markup of its own. */
export function escape(text: string): string {
  return text
    .replaceAll(/[\\`*_[\]<>|~]/g, "\\$&")
    .replaceAll(/@(?=\w)/g, "@\u200B")
    .replaceAll(/#(?=\d)/g, "#\u200B");
}
