/**
 * The errors a command can end with. Each is one line for a person: what is wrong, where, and (`hint`) what to do.
 * The exit codes are documented in docs/exit-codes.md; scripts/lib/cli/command.ts is the only place that exits with them.
 */
export class CommandError extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(exitCode: number, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

/** The call itself is wrong: an unknown flag, app or environment. Exit code 2. */
export class UsageError extends CommandError {
  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super(2, message, hint, options);
  }
}

/** A precondition does not hold, so nothing was changed. Exit code 3. */
export class RefusedError extends CommandError {
  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super(3, message, hint, options);
  }
}

/** A check ran and found differences. Exit code 4. */
export class FindingsError extends CommandError {
  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super(4, message, hint, options);
  }
}

/** A program or a server that this repository calls failed. Exit code 5. */
export class ExternalError extends CommandError {
  constructor(message: string, hint?: string, options?: ErrorOptions) {
    super(5, message, hint, options);
  }
}

/** Somebody else has just pushed to a branch, so nothing was written there: `retry` looks at what is there now. Exit code 5. */
export class MovedError extends ExternalError {
  readonly reason: string;

  constructor(branch: string, reason: string) {
    super(`somebody else has just pushed to ${branch} (${reason})`, "run it again");
    this.reason = reason;
  }
}

/**
 * What a refusal is after something has been written: exit code 3 says that nothing was changed, so it is 5.
 * @param error anything that was thrown; what is no refusal stays as it is
 * @param left what there is now, such as `#3 is open`
 */
export function afterWriting(error: unknown, left: string): unknown {
  if (!(error instanceof RefusedError)) return error;
  const hint = `${error.hint === undefined ? "" : `${error.hint}; `}${left}: then run it again`;
  return new ExternalError(error.message, hint, { cause: error.cause });
}

/** The message of anything that was thrown, on one line. */
export function messageOf(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return message.replaceAll(/\s*\n\s*/g, " ").trim();
}

/** An error of ours on one line: what is wrong; what to do. */
export function lineOf(error: CommandError): string {
  return error.hint === undefined ? messageOf(error) : `${messageOf(error)}; ${error.hint}`;
}

/** The system error code (`ENOENT`, `EADDRINUSE`, …) of anything that was thrown, if it has one. */
export function codeOf(thrown: unknown): string | undefined {
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "string") return thrown.code;
  return undefined;
}
