/**
 * The environment in which git answers the same, whoever asks and wherever: in a hook, and under any configuration. In a checkout
 * its user's configuration counts, except for how git shows things. In a repository that a command makes for itself none of it
 * counts. docs/git-settings.md has every setting.
 */
import { devNull } from "node:os";

/** A key of Git's configuration, and its value. */
export type Setting = readonly [key: string, value: string];

/** Where the configuration is, and how git gets to a server. Every other variable binds git to a repository, or to a way of reading one. */
const VARIABLES =
  /^GIT_(EXEC_PATH|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|PARAMETERS|COUNT|KEY_\d+|VALUE_\d+)|(SSL|PROXY_SSL|HTTP|SSH)(_\w+)?|ASKPASS|TERMINAL_PROMPT|AUTHOR_(NAME|EMAIL))$/;

/** How git shows things: a person may have set it, and a program must not get it. */
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
  // As `git -c` has them: they come after all others.
  const plain = PLAIN.map(([key, value]) => `'${key}'='${value}'`);
  const parameters = [env["GIT_CONFIG_PARAMETERS"] ?? "", ...plain].join(" ").trim();
  return { ...common(env), GIT_CONFIG_PARAMETERS: parameters, GIT_OPTIONAL_LOCKS: "0" };
}

/**
 * For a repository that a command has made for itself: of the configuration of its user, the system and the environment it has
 * nothing.
 * @param settings all of its configuration
 */
export function ownEnvironment(env: NodeJS.ProcessEnv, settings: readonly Setting[]): NodeJS.ProcessEnv {
  const own = Object.entries(common(env)).filter(([name]) => !/^GIT_(CONFIG|AUTHOR)_/.test(name));
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
    ...counted([
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

function counted(settings: readonly Setting[]): NodeJS.ProcessEnv {
  const variables = settings.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return { GIT_CONFIG_COUNT: String(settings.length), ...Object.fromEntries(variables) };
}
