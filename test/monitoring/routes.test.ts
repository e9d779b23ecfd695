/** Where Alertmanager sends each alert of the tree. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { afterAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { run } from "../../scripts/lib/exec.ts";
import { repositoryRoot } from "../../scripts/lib/repository.ts";
import { stackValues } from "../../scripts/lib/sandbox/monitoring.ts";
import { resolveTool } from "../../scripts/lib/tools/resolve.ts";

const ROOT = repositoryRoot();

const Rules = z.object({
  spec: z.object({
    groups: z.array(
      z.object({
        rules: z.array(
          z.object({
            alert: z.string().optional(),
            labels: z.object({ severity: z.string() }).optional(),
          }),
        ),
      }),
    ),
  }),
});
const files = await glob(["base/monitoring/rules/*.yaml", "argocd/monitoring/rules.yaml"], { cwd: ROOT });
const alerts = (
  await Promise.all(
    files.map(async (file) => {
      const { spec } = Rules.parse(parse(await readFile(join(ROOT, file), "utf8")));
      return spec.groups.flatMap(({ rules }) =>
        rules.map(({ alert = "", labels }) => ({ alert, severity: labels?.severity ?? "" })),
      );
    }),
  )
)
  .flat()
  .filter(({ alert }) => alert !== "");

const Config = z.looseObject({
  inhibit_rules: z.array(
    z.object({ source_matchers: z.array(z.string()), target_matchers: z.array(z.string()) }),
  ),
});

describe("Alertmanager's routes", async () => {
  const { path: amtool } = await resolveTool("amtool");
  const directory = await mkdtemp(join(tmpdir(), "routes-"));
  afterAll(async () => rm(directory, { recursive: true, force: true }));
  const file = join(directory, "alertmanager.yaml");
  const { alertmanager } = await stackValues(ROOT);
  const config = Config.parse(alertmanager.config);
  await writeFile(file, stringify(config));

  const receiver = async (alert: string, severity: string) =>
    (
      await run(amtool, [
        "config",
        "routes",
        "test",
        `--config.file=${file}`,
        `alertname=${alert}`,
        `severity=${severity}`,
      ])
    ).trim();

  it("are a configuration that Alertmanager takes", async () => {
    expect(await run(amtool, ["check-config", file])).toContain("SUCCESS");
  });

  it.each(alerts)("lead $alert, $severity, to somebody, unless it is info", async ({ alert, severity }) => {
    expect(await receiver(alert, severity)).toBe(severity === "info" ? "nobody" : "chat");
  });

  it("lead what fires always to nobody", async () => {
    expect(await receiver("Watchdog", "none")).toBe("nobody");
  });

  it("silence only alerts that there are", () => {
    const patterns = config.inhibit_rules
      .flatMap((rule) => [...rule.source_matchers, ...rule.target_matchers])
      .flatMap((matcher) => (/^alertname =~? "?([^"]+)"?$/.exec(matcher)?.[1] ?? "").split("|"));
    expect(
      patterns.filter((pattern) => !alerts.some(({ alert }) => new RegExp(`^${pattern}$`).test(alert))),
    ).toEqual([]);
  });
});
