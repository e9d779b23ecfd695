import { describe, expect, it } from "vitest";
import { repositoryRoot } from "../../../scripts/lib/repository.ts";
import { memoryDirectory } from "../../../scripts/lib/secrets/memory.ts";

describe("a directory in memory", () => {
  it("is refused where files cannot be in memory", async () => {
    await expect(memoryDirectory(repositoryRoot())).rejects.toThrow(
      "is not in memory, and an editor's file must not be on a disk",
    );
    await expect(memoryDirectory("/nowhere")).rejects.toThrow("is not in memory");
  });
});
