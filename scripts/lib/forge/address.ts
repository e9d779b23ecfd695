/** Where a forge has this repository: its API, its pages and its Git, from the settings. */
import { RefusedError } from "../errors.ts";
import { SETTINGS_FILE, type Settings } from "../tree/settings.ts";

export interface Repository {
  readonly owner: string;
  readonly name: string;
}

export interface ForgeAddress extends Repository {
  /** Base of the REST API. */
  readonly api: string;
  /** Base of the pages for people, without a slash at its end. */
  readonly web: string;
  /** What git fetches from and pushes to, over HTTP and without a credential. */
  readonly git: string;
}

/**
 * Reads the addresses out of the settings.
 * @throws RefusedError when repoURL does not end in <owner>/<name>, or forgeAPI is not a forge's that is known here
 */
export function forgeAddress({ repoURL, forgeAPI }: Pick<Settings, "repoURL" | "forgeAPI">): ForgeAddress {
  const { owner, name } = repositoryOf(repoURL);
  const web = pages(forgeAPI);
  return { api: forgeAPI, web, git: overHTTP(repoURL) ?? `${web}/${owner}/${name}.git`, owner, name };
}

/** The URL without a credential; undefined for one of SSH, which no token opens. */
function overHTTP(repoURL: string): string | undefined {
  if (!/^https?:/.test(repoURL)) return undefined;
  const url = new URL(repoURL);
  url.username = "";
  url.password = "";
  return url.href;
}

/** GitHub has its API on a host of its own; GitHub Enterprise Server has it at /api/v3, Gitea and Forgejo at /api/v1. */
function pages(forgeAPI: string): string {
  const [, cloud] = /^https:\/\/api\.(github\.com|[\w-]+\.ghe\.com)$/.exec(forgeAPI) ?? [];
  if (cloud !== undefined) return `https://${cloud}`;
  const [, web] = /^(.+)\/api\/v[13]$/.exec(forgeAPI) ?? [];
  if (web !== undefined) return web;
  throw new RefusedError(
    `forgeAPI ${forgeAPI} of ${SETTINGS_FILE} is no API of GitHub, Gitea or Forgejo`,
    "it is https://api.github.com, https://api.<name>.ghe.com, https://<host>/api/v3 (GitHub Enterprise Server) or https://<host>/api/v1 (Gitea, Forgejo)",
  );
}

/** The repository that `owner/name` names; undefined for anything else. */
export function repositoryNamed(text: string): Repository | undefined {
  const [, owner, name] = /^([^/]+)\/([^/]+)$/.exec(text) ?? [];
  return owner === undefined || name === undefined ? undefined : { owner, name };
}

/**
 * The repository that a URL names.
 * @throws RefusedError when it does not end in <owner>/<name>
 */
export function repositoryOf(url: string): Repository {
  const [, owner, name] = /[/:]([^/:]+)\/([^/]+?)(?:\.git)?\/?$/.exec(url) ?? [];
  if (owner === undefined || name === undefined) {
    throw new RefusedError(`repoURL ${url} of ${SETTINGS_FILE} is not <host>/<owner>/<name>`);
  }
  return { owner, name };
}
