import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { glob } from "tinyglobby";
import { describe, expect, it } from "vitest";
import { readSettings, SETTINGS_FILE } from "../../../scripts/lib/tree/settings.ts";
import { ROOT } from "../support.ts";
import { only, render } from "./support.ts";

const settings = await readSettings(ROOT);
// `main` is an ordinary word; the tests of the rendered sources cover it.
const values = Object.entries(settings).filter(([name]) => name !== "revision");

describe("the settings", () => {
  it.each(values)("are the only place of %s", async (_, value) => {
    const files = await glob(["apps/**", "base/**", "overlays/**", "argocd/**"], { cwd: ROOT, dot: true });
    const texts = await Promise.all(
      files.map(async (file) => ({ file, text: await readFile(join(ROOT, file), "utf8") })),
    );
    expect(texts.filter(({ text }) => text.includes(value ?? "")).map(({ file }) => file)).toEqual([
      SETTINGS_FILE,
    ]);
  });

  it("make Argo CD's own address, in its notifications too", async () => {
    const config = await render("argocd/config");
    const url = `https://argocd.${settings.domain}`;
    expect(only(config, "ConfigMap", "argocd-cm").data?.["url"]).toBe(url);
    expect(only(config, "ConfigMap", "argocd-notifications-cm").data?.["context"]).toBe(`argocdUrl: ${url}`);
  });

  it("are in no rendered output themselves", async () => {
    expect((await render("argocd/root")).map(({ metadata }) => metadata.name)).not.toContain("settings");
  });
});
