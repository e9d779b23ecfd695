import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ExternalError } from "../../scripts/lib/errors.ts";
import { kubectl } from "../../scripts/lib/kubectl.ts";
import { temporary } from "../support/tree.ts";

it.each([
  ["all that it says", ["a: forbidden", "b: forbidden"], "b: forbidden", "a: forbidden\nb: forbidden"],
  ["nothing that may be a key", [`denied: ${"QUdF".repeat(16)}`], "exit code 4", undefined],
  [
    "nothing beside what may be a key",
    [`denied: ${"QUdF".repeat(16)}`, "b: forbidden"],
    "exit code 4",
    undefined,
  ],
  ["nothing that is a key", ["denied: AGE-SECRET-KEY-1QQ"], "exit code 4", undefined],
  ["nothing when it says nothing", [], "exit code 4", undefined],
])("a kubectl that fails is quoted: %s", async (_, lines, reason, cause) => {
  const program = join(await temporary(), "kubectl");
  await writeFile(program, `#!/bin/sh\ncat >&2 <<'END'\n${lines.join("\n")}\nEND\nexit 4\n`, { mode: 0o755 });
  const failed = await kubectl({ kubectl: program, context: "hub" }, ["apply"]).catch(
    (error: unknown) => error,
  );
  expect(failed).toHaveProperty("message", `hub: kubectl apply failed: ${reason}`);
  expect(failed instanceof ExternalError && failed.cause).toBe(cause);
});
