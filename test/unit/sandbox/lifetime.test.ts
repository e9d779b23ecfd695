import { describe, expect, it } from "vitest";
import { layoutOf } from "../../../scripts/lib/sandbox/layout.ts";
import { refuseUnfitMachine } from "../../../scripts/lib/sandbox/lifetime.ts";

describe("a machine that cannot hold a sandbox is refused", () => {
  // Linux says of /proc that nothing is free there.
  it.skipIf(process.platform !== "linux")("with a full disk", async () => {
    await expect(refuseUnfitMachine(layoutOf("/proc"))).rejects.toMatchObject({
      message: "only 0 MB are free below /proc",
      hint: "make room for at least 2 GB",
      exitCode: 3,
    });
  });

  it("where the checkout lies too deep for a socket", async () => {
    const root = `/${"deep/".repeat(30)}checkout`;
    await expect(refuseUnfitMachine(layoutOf(root))).rejects.toMatchObject({
      message: `the path ${root}/.sandbox is too long for a Unix socket`,
      hint: "move the checkout to a shorter one",
      exitCode: 3,
    });
  });
});
