/** The environment in which git answers the same, whoever asks and wherever: in a hook, and under any configuration. */

/** What points git to another repository than the one that it runs in, or has it read paths or objects in another way. */
const FOREIGN =
  /^GIT_(DIR|WORK_TREE|IMPLICIT_WORK_TREE|INDEX_FILE|COMMON_DIR|NAMESPACE|PREFIX|GRAFT_FILE|SHALLOW_FILE|REPLACE_REF_BASE|.*OBJECT_DIRECTOR(Y|IES)|.*_PATHSPECS|TRACE.*)$/;
/** What a person may have set for reading a history, and a program must not get. */
const PLAIN: readonly Setting[] = [
  ["color.ui", "false"],
  ["core.quotePath", "false"],
  ["log.follow", "false"],
  ["log.mailmap", "false"],
  ["log.showRoot", "true"],
  ["log.showSignature", "false"],
];

/** A key of Git's configuration, and its value. */
export type Setting = readonly [key: string, value: string];

/**
 * The caller's environment, but bound to no other repository and with plain answers.
 * @param settings more of Git's configuration
 */
export function gitEnvironment(env: NodeJS.ProcessEnv, settings: readonly Setting[] = []): NodeJS.ProcessEnv {
  const all = [...PLAIN, ...settings];
  const first = Number(env["GIT_CONFIG_COUNT"] ?? 0);
  return {
    ...Object.fromEntries(Object.entries(env).filter(([name]) => !FOREIGN.test(name))),
    // What git says is read.
    LC_ALL: "C",
    GIT_CONFIG_COUNT: String(first + all.length),
    ...Object.fromEntries(
      all.flatMap(([key, value], index) => [
        [`GIT_CONFIG_KEY_${first + index}`, key],
        [`GIT_CONFIG_VALUE_${first + index}`, value],
      ]),
    ),
  };
}
