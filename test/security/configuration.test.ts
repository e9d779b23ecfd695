/** A file that a tool would find for itself does not configure it: each is told where its configuration is. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { z } from "zod";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

const TOLD: Record<string, RegExp> = {
  vitest: /^vitest run --config=vitest\.config\.ts\b/,
  oxlint: /^oxlint --config=\.oxlintrc\.json --disable-nested-config\b/,
  biome: /^biome check --config-path=biome\.json\b/,
  tsc: /^tsc --project tsconfig\.json$/,
  node: /^node scripts\/run\.js \w+$/,
};

it("every program in package.json's scripts is told where its configuration is", async () => {
  const text = await readFile(join(repositoryRoot(), "package.json"), "utf8");
  const { scripts } = z.object({ scripts: z.record(z.string(), z.string()) }).parse(JSON.parse(text));
  const calls = Object.values(scripts)
    .flatMap((script) => script.split(/ && |; /))
    // Such as the version of Kubernetes.
    .map((call) => call.replace(/^KUBERNETES=\w+ /, ""));
  const programs = calls.filter((call) => !/^(npm run|ulimit) /.test(call));
  expect(programs.length).toBeGreaterThan(0);
  expect(programs.filter((call) => !TOLD[call.split(" ")[0] ?? ""]?.test(call))).toEqual([]);
});
