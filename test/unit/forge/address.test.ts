/** Where a forge has its API, its pages and its Git. */
import { describe, expect, it } from "vitest";
import { forgeAddress } from "../../../scripts/lib/forge/address.ts";

const GITHUB = "https://github.com/shop/gitops.git";

describe("a forge's addresses", () => {
  it.each<[string, string, string, string, string]>([
    ["GitHub", GITHUB, "https://api.github.com", "https://github.com", GITHUB],
    [
      "GitHub with data residency",
      "https://shop.ghe.com/shop/gitops",
      "https://api.shop.ghe.com",
      "https://shop.ghe.com",
      "https://shop.ghe.com/shop/gitops",
    ],
    [
      "GitHub Enterprise Server, over SSH",
      "git@git.shop.test:shop/gitops.git",
      "https://git.shop.test/api/v3",
      "https://git.shop.test",
      "https://git.shop.test/shop/gitops.git",
    ],
    [
      "Gitea or Forgejo below a path",
      "https://shop.test/git/shop/gitops.git",
      "https://shop.test/git/api/v1",
      "https://shop.test/git",
      "https://shop.test/git/shop/gitops.git",
    ],
    [
      "an address of IPv6",
      "http://[2001:db8::1]:3000/shop/gitops.git",
      "http://[2001:db8::1]:3000/api/v1",
      "http://[2001:db8::1]:3000",
      "http://[2001:db8::1]:3000/shop/gitops.git",
    ],
  ])("are those of %s", (_, repoURL, forgeAPI, web, git) => {
    expect(forgeAddress({ repoURL, forgeAPI })).toEqual({
      api: forgeAPI,
      web,
      git,
      owner: "shop",
      name: "gitops",
    });
  });

  it.each([
    "https://gitlab.com/api/v4",
    "https://github.com",
    "https://api.bitbucket.org/2.0",
    "https://git.shop.test",
    "https://shop.ghe.com",
  ])("are not guessed: %s", (forgeAPI) => {
    expect(() => forgeAddress({ repoURL: GITHUB, forgeAPI })).toThrow(
      expect.objectContaining({
        exitCode: 3,
        message: `forgeAPI ${forgeAPI} of argocd/settings/settings.yaml is no API of GitHub, Gitea or Forgejo`,
      }),
    );
  });
});
