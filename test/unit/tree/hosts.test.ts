import { describe, expect, it } from "vitest";
import { apiHost } from "../../../scripts/lib/tree/hosts.ts";
import { temporary, write } from "../../support/tree.ts";

describe("the host of an environment's API", () => {
  const hosts = (api: string) =>
    `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hosts\ndata:\n  api: ${api}\n  shop: https://shop\n`;

  it("is its own name in front of the domain, as kustomize writes it into the routes", async () => {
    const root = await temporary();
    await write(root, { "overlays/dev/apisix/hosts.yaml": hosts("api.dev") });
    expect(await apiHost(root, "dev", "apisix", "example.com")).toBe("api.dev.example.com");
  });

  it("is that of the base's routes where the environment has no name of its own", async () => {
    expect(await apiHost(await temporary(), "dev", "apisix", "example.com")).toBe("api.example.com");
  });

  it("is not guessed from a damaged file", async () => {
    const root = await temporary();
    await write(root, { "overlays/dev/apisix/hosts.yaml": "data: {}\n" });
    await expect(apiHost(root, "dev", "apisix", "example.com")).rejects.toThrow("hosts.yaml");
  });
});
