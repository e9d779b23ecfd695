/**
 * The environment in which git answers the same, whoever asks and wherever: in a hook, and under any configuration. In a checkout
 * its user's configuration counts, but what is read of it stays plain. In a clone of ours none of it counts but what is named
 * here. docs/git-settings.md has every setting.
 */
import { devNull } from "node:os";

/** A key of Git's configuration, and its value. */
export type Setting = readonly [key: string, value: string];

/** Where the configuration is, and how git gets to a server. Every other variable binds git to a repository, or to a way of reading one. */
const VARIABLES =
  /^GIT_(EXEC_PATH|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|PARAMETERS|COUNT|KEY_\d+|VALUE_\d+)|(SSL|PROXY_SSL|HTTP|SSH)(_\w+)?|ASKPASS|TERMINAL_PROMPT|(AUTHOR|COMMITTER)_(NAME|EMAIL))$/;

/** What a person may have set for reading a history, and a program must not get. */
const PLAIN: readonly Setting[] = [
  ["color.ui", "false"],
  ["core.quotePath", "false"],
  ["diff.orderFile", devNull],
  ["diff.relative", "false"],
  ["i18n.logOutputEncoding", "UTF-8"],
  ["log.diffMerges", "separate"],
  ["log.follow", "false"],
  ["log.mailmap", "false"],
  ["log.showRoot", "true"],
  ["log.showSignature", "false"],
];

/** For a checkout: bound to no other repository, with plain answers, and nothing is written. */
export function checkoutEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return {
    ...common(env),
    ...configured(PLAIN, Number(env["GIT_CONFIG_COUNT"] ?? 0)),
    GIT_OPTIONAL_LOCKS: "0",
  };
}

/**
 * For a repository that a command has made for itself: of the configuration of its user, the system and the environment it has
 * nothing.
 * @param settings all of its configuration
 */
export function ownEnvironment(env: NodeJS.ProcessEnv, settings: readonly Setting[]): NodeJS.ProcessEnv {
  const own = Object.entries(common(env)).filter(([name]) => !/^GIT_(CONFIG|AUTHOR|COMMITTER)_/.test(name));
  return {
    ...Object.fromEntries(own),
    GIT_CONFIG_GLOBAL: devNull,
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_DEFAULT_HASH: "sha1",
    GIT_DEFAULT_REF_FORMAT: "files",
    // Nobody is asked for a password.
    GIT_ASKPASS: "",
    GIT_TERMINAL_PROMPT: "0",
    ...configured([
      ["core.attributesFile", devNull],
      ["core.hooksPath", devNull],
      // What is gone in a moment needs no tidying.
      ["maintenance.auto", "false"],
      ["gc.auto", "0"],
      ["fastimport.unpackLimit", "0"],
      ...settings,
    ]),
  };
}

function common(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !name.startsWith("GIT_") || VARIABLES.test(name));
  return {
    ...Object.fromEntries(kept),
    // What git says is read.
    LC_ALL: "C",
    GIT_TRACE2: "0",
    GIT_TRACE2_EVENT: "0",
    GIT_TRACE2_PERF: "0",
    GIT_NO_REPLACE_OBJECTS: "1",
  };
}

/** @param first the number of settings in the environment already */
function configured(settings: readonly Setting[], first = 0): NodeJS.ProcessEnv {
  return {
    GIT_CONFIG_COUNT: String(first + settings.length),
    ...Object.fromEntries(
      settings.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${first + index}`, key],
        [`GIT_CONFIG_VALUE_${first + index}`, value],
      ]),
    ),
  };
}
