/** Which proxy leads to a forge, as curl and so git have it. */
import { describe, expect, it } from "vitest";
import { proxyOf } from "../../../scripts/lib/git/network.ts";

const PROXY = "http://proxy.shop.test:3128";
const OTHER = "http://other.shop.test:3128";
const HTTPS = "https://forge.shop.test/shop/gitops.git";
const HTTP = "http://forge.shop.test:3000/shop/gitops.git";

describe("the proxy", () => {
  it.each<[string, string, string | undefined, Record<string, string>, string | undefined]>([
    ["none is set", HTTPS, undefined, {}, undefined],
    ["HTTPS_PROXY, for HTTPS", HTTPS, undefined, { HTTPS_PROXY: PROXY, HTTP_PROXY: OTHER }, "HTTPS_PROXY"],
    ["HTTP_PROXY, for HTTP", HTTP, undefined, { HTTPS_PROXY: OTHER, HTTP_PROXY: PROXY }, "HTTP_PROXY"],
    ["HTTP_PROXY is none for HTTPS", HTTPS, undefined, { HTTP_PROXY: PROXY, http_proxy: PROXY }, undefined],
    ["lower case comes first", HTTPS, undefined, { https_proxy: PROXY, HTTPS_PROXY: OTHER }, "https_proxy"],
    ["ALL_PROXY, for both", HTTP, undefined, { ALL_PROXY: PROXY }, "ALL_PROXY"],
    ["ALL_PROXY comes last", HTTPS, undefined, { all_proxy: OTHER, HTTPS_PROXY: PROXY }, "HTTPS_PROXY"],
    ["an empty one is none", HTTPS, undefined, { https_proxy: "", HTTPS_PROXY: "" }, undefined],
    ["Git's own setting comes first", HTTPS, PROXY, { HTTPS_PROXY: OTHER }, "http.proxy"],
    ["an empty setting of Git's is none", HTTPS, "", { HTTPS_PROXY: PROXY }, undefined],
    ["this machine needs none", "http://127.0.0.1:3000/x/y", PROXY, { HTTP_PROXY: PROXY }, undefined],
    ["nor does it by name", "http://localhost:3000/x/y", undefined, { HTTP_PROXY: PROXY }, undefined],
    ["nor by IPv6", "http://[::1]:3000/x/y", undefined, { HTTP_PROXY: PROXY }, undefined],
  ])("%s", (_, url, setting, env, name) => {
    expect(proxyOf(url, setting, env)).toEqual(
      name === undefined
        ? { proxy: undefined, said: undefined }
        : { proxy: PROXY, said: `through the proxy of ${name}` },
    );
  });

  it.each<[string, string, string]>([
    ["the host", "forge.shop.test", HTTPS],
    ["a domain that it is in", "other.test, shop.test", HTTPS],
    ["the same with a dot", ".shop.test", HTTPS],
    ["the same with an asterisk", "*.shop.test", HTTPS],
    ["in capitals", "SHOP.TEST", HTTPS],
    ["its port", "forge.shop.test:3000", HTTP],
    ["everything", "*", HTTPS],
    ["an address", "10.1.2.3", "https://10.1.2.3/x/y"],
    ["a network", "192.168.0.0/16 10.0.0.0/8", "https://10.1.2.3/x/y"],
    ["an address of IPv6", "2001:db8::1", "https://[2001:db8::1]:3000/x/y"],
    ["the same in brackets", "[2001:db8::1]", "https://[2001:db8::1]/x/y"],
    ["a network of IPv6", "2001:db8::/32", "https://[2001:db8::1]/x/y"],
  ])("is left out by NO_PROXY, whatever sets it: %s", (_, list, url) => {
    for (const name of ["no_proxy", "NO_PROXY"]) {
      expect(proxyOf(url, PROXY, { [name]: list })).toEqual({
        proxy: undefined,
        said: `without the proxy of http.proxy, as ${name} says`,
      });
    }
  });

  it.each<[string, string, string]>([
    ["another host that ends alike", "orge.shop.test", HTTPS],
    ["another port", "forge.shop.test:443", HTTP],
    ["nothing", " , ", HTTPS],
    ["another network", "10.0.0.0/8", "https://11.1.2.3/x/y"],
    ["a network, for a name", "0.0.0.0/0", HTTPS],
  ])("is not left out by NO_PROXY for %s", (_, list, url) => {
    expect(proxyOf(url, PROXY, { no_proxy: list })).toMatchObject({ proxy: PROXY });
  });

  it.each([
    ["proxy.shop.test:3128", PROXY],
    ["http://proxy.shop.test", "http://proxy.shop.test:1080"],
    ["http://proxy.shop.test:80/", "http://proxy.shop.test:80/"],
    ["https://ada:password@proxy.shop.test/", "https://ada:password@proxy.shop.test:443"],
  ])("has curl's defaults: %s", (value, proxy) => {
    expect(proxyOf(HTTPS, value, {})).toMatchObject({ proxy });
  });

  it.each(["socks4://proxy:1080", "ftp://proxy", "http://", "http://a b"])(
    "that is none is refused, and not repeated: %s",
    (value) => {
      expect(() => proxyOf(HTTPS, undefined, { HTTPS_PROXY: value })).toThrow(
        expect.objectContaining({ exitCode: 3, message: "HTTPS_PROXY is not the URL of a proxy" }),
      );
    },
  );
});
