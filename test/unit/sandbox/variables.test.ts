import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { run } from "../../../scripts/lib/exec.ts";
import { layoutOf } from "../../../scripts/lib/sandbox/layout.ts";
import { findSandbox, writeVariables } from "../../../scripts/lib/sandbox/variables.ts";
import { SETTINGS_FILE } from "../../../scripts/lib/tree/settings.ts";
import { settings, write } from "../../support/tree.ts";

async function checkout(): Promise<string> {
  // A blank and a quote: people have such folders.
  const root = await mkdtemp(join(tmpdir(), "it's a checkout-"));
  onTestFinished(async () => rm(root, { recursive: true }));
  await mkdir(layoutOf(root).work, { recursive: true });
  return root;
}

const VALUES = { PLAIN: "http://127.0.0.1:23000", ODD: "a 'quoted' $HOME `id` value" };

describe(".sandbox/env", () => {
  it("gives a shell exactly the values, and the programs first on its PATH", async () => {
    const root = await checkout();
    const layout = layoutOf(root);
    await writeVariables(layout, VALUES);
    const script = '. "$1"; . "$1"; printf "%s\\n" "$PLAIN" "$ODD" "$PATH"';
    const output = await run("sh", ["-c", script, "sh", layout.env], { env: { PATH: "/usr/bin:/bin" } });
    expect(output.split("\n")).toEqual([VALUES.PLAIN, VALUES.ODD, `${layout.bin}:/usr/bin:/bin`, ""]);
  });

  it("is read by other commands, in the checkout and in the work clone", async () => {
    const root = await checkout();
    await writeVariables(layoutOf(root), VALUES);
    const { work } = layoutOf(root);
    for (const place of [root, work])
      expect(await findSandbox(place, {})).toMatchObject({ variables: VALUES, clone: work });
  });

  it("is undefined without a sandbox", async () => {
    expect(await findSandbox(await checkout(), {})).toBeUndefined();
  });

  it("is found by a clone of the forge anywhere, and by no other, in a shell that has read it", async () => {
    const sandbox = await checkout();
    await writeVariables(layoutOf(sandbox), { FORGE_URL: "http://127.0.0.1:23000" });
    const script = '. "$1"; printf %s "$SANDBOX_ROOT"';
    const SANDBOX_ROOT = await run("sh", ["-c", script, "sh", layoutOf(sandbox).env]);
    const clone = await checkout();
    const remote = async (url: string) => write(clone, { [SETTINGS_FILE]: settings(url, `${url}/api/v1`) });
    await remote("http://127.0.0.1:23000/shop/gitops.git");
    expect(await findSandbox(clone, { SANDBOX_ROOT })).toMatchObject({ clone });
    expect(await findSandbox(clone, {})).toBeUndefined();
    await remote("http://127.0.0.1:2300/shop/gitops.git");
    expect(await findSandbox(clone, { SANDBOX_ROOT })).toBeUndefined();
  });
});
