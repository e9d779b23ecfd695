import { describe, expect, it } from "vitest";
import { RefusedError, UsageError } from "../../../scripts/lib/errors.ts";
import { checkRequest, type NewRequest } from "../../../scripts/lib/new/request.ts";
import { smallTree, temporary, write } from "../../support/tree.ts";

const PROJECT = "spec:\n  destinations:\n    - namespace: shop\n    - namespace: shop\n";
const FLOWS = "base/foundation/namespaces/shop/flows/web.yaml";

async function tree(more: Record<string, string> = {}): Promise<string> {
  const root = await temporary();
  const disk = smallTree()["apps/disk.yaml"] ?? "";
  await write(root, {
    ...smallTree(),
    "apps/disk.yaml": `${disk}client:\n  component: disk-client\n  secret: login\n  port: 5000\nsecrets:\n  - name: login\n    keys:\n      word:\n        generate: 32\n`,
    "apps/quiet.yaml":
      "app: quiet\nnamespace: shop\nkind: service\nimage: shop/quiet\nsource: shop/quiet\nowners:\n  - web\n",
    "apps/vault.yaml": "app: vault\nnamespace: data\nkind: store\nowners:\n  - data\n",
    "argocd/environment/projects/service.yaml": PROJECT,
    [FLOWS]: "spec:\n  egress: []\n",
    ...more,
  });
  return root;
}

const GOOD: NewRequest = {
  app: "cart",
  kind: "service",
  namespace: "shop",
  port: 8084,
  route: undefined,
  schedule: undefined,
  stores: [],
  callers: [],
  owners: ["web"],
  isNewTeam: false,
  source: undefined,
  sha: undefined,
  secrets: [],
};
const worker = { kind: "worker", port: undefined } as const;
const job = { kind: "cron-job", port: undefined, schedule: "30 1 * * *" } as const;
const secret = (name: string, ...keys: string[]) => ({ name, keys, isSupplied: false });

it("a request that the tree can have is completed from it", async () => {
  const root = await tree();
  const request = { ...GOOD, stores: ["disk"], callers: ["web"], secrets: [secret("mail", "user")] };
  expect(await checkRequest(root, request)).toMatchObject({
    environment: "dev",
    image: "shop/cart",
    source: "shop/cart",
    stored: [{ app: "disk" }],
    calling: [{ app: "web" }],
  });
});

it.each<[string, Partial<NewRequest>]>([
  ["a worker", worker],
  ["a cron job", job],
  ["a cron job with steps and lists", { ...job, schedule: "*/5 8-18 * * 1,3" }],
  ["a name of two letters", { app: "ab" }],
  ["a name of forty letters", { app: "a".repeat(40) }],
  ["the first port that is not root's", { port: 1024 }],
  ["the last port", { port: 65535 }],
  ["a port that another service has: each has its own address", { port: 8080 }],
  ["a team that is new, and said to be", { owners: ["mail"], isNewTeam: true }],
  ["a route", { route: "/api/v1/carts" }],
])("takes %s", async (_, change) => {
  await expect(checkRequest(await tree(), { ...GOOD, ...change })).resolves.toMatchObject(change);
});

describe("refuses", () => {
  it.each<[string, Partial<NewRequest>, typeof UsageError | typeof RefusedError, RegExp]>([
    ["no name", { app: "" }, UsageError, /no name of an app/],
    ["a name of one letter", { app: "a" }, UsageError, /1 characters/],
    ["a name of 41 letters", { app: "a".repeat(41) }, UsageError, /41 characters/],
    ["capitals", { app: "Cart" }, UsageError, /Cart is no name/],
    ["an underscore", { app: "my_cart" }, UsageError, /no name/],
    ["a dot", { app: "my.cart" }, UsageError, /no name/],
    ["a digit in front", { app: "2cart" }, UsageError, /no name/],
    ["a dash in front", { app: "-cart" }, UsageError, /no name/],
    ["a dash at the end", { app: "cart-" }, UsageError, /no name/],
    ["a way out of the directory", { app: "../cart" }, UsageError, /no name/],
    ["a slash", { app: "shop/cart" }, UsageError, /no name/],
    ["a space", { app: "my cart" }, UsageError, /no name/],
    ["a newline", { app: "cart\n" }, UsageError, /more than one line/],
    ["letters of others", { app: "cärt" }, UsageError, /no name/],
    ["an app's name", { app: "web" }, RefusedError, /an app web already/],
    ["a store's name", { app: "disk" }, RefusedError, /an app disk already/],
    ["a namespace's name", { app: "shop" }, RefusedError, /name of a namespace/],
    ["a directory of base", { app: "components" }, RefusedError, /base\/components is there/],
    ["a namespace that is not there", { namespace: "ecommerce" }, UsageError, /no namespace ecommerce/],
    ["a namespace of stores", { namespace: "data" }, UsageError, /no namespace data/],
    ["a service without a port", { port: undefined }, UsageError, /needs a port/],
    ["a port that is no number", { port: Number.NaN }, UsageError, /no port/],
    ["half a port", { port: 80.5 }, UsageError, /no port/],
    ["port 0", { port: 0 }, UsageError, /no port/],
    ["a negative port", { port: -1 }, UsageError, /no port/],
    ["a port past the last one", { port: 65536 }, UsageError, /no port/],
    ["a port of root's", { port: 80 }, UsageError, /port 80 is for root/],
    ["the port of traces", { port: 4317 }, UsageError, /that of traces/],
    ["a port of a worker", { ...worker, port: 8084 }, UsageError, /a worker has no --port/],
    ["callers of a worker", { ...worker, callers: ["web"] }, UsageError, /a worker has no --callers/],
    ["a route to a worker", { ...worker, route: "/api/v1/carts" }, UsageError, /a worker has no --route/],
    ["a schedule of a service", { schedule: "30 1 * * *" }, UsageError, /a service has no --schedule/],
    [
      "a schedule of a worker",
      { ...worker, schedule: "30 1 * * *" },
      UsageError,
      /a worker has no --schedule/,
    ],
    ["a cron job without a schedule", { ...job, schedule: undefined }, UsageError, /needs a schedule/],
    ["a schedule of four fields", { ...job, schedule: "1 * * *" }, UsageError, /no schedule of cron/],
    [
      "a schedule that is more than that",
      { ...job, schedule: '1 * * * *"\nx: y' },
      UsageError,
      /more than one line/,
    ],
    ["stores of a cron job", { ...job, stores: ["disk"] }, UsageError, /a cron-job has no --stores/],
    ["a store that is not there", { stores: ["mysql"] }, UsageError, /no store mysql/],
    ["a store that services do not use", { stores: ["vault"] }, UsageError, /no store vault/],
    ["a service as a store", { stores: ["web"] }, UsageError, /no store web/],
    ["a store twice", { stores: ["disk", "disk"] }, UsageError, /disk twice/],
    ["a caller that is not there", { callers: ["basket"] }, UsageError, /no service basket/],
    ["a store as a caller", { callers: ["disk"] }, UsageError, /no service disk/],
    ["itself as a caller", { callers: ["cart"] }, UsageError, /no service cart/],
    ["a caller twice", { callers: ["web", "web"] }, UsageError, /web twice/],
    ["a caller without flows", { callers: ["quiet"] }, RefusedError, /quiet has no flows/],
    ["no owner", { owners: [] }, UsageError, /no owner/],
    ["a team that owns nothing", { owners: ["nobody"] }, UsageError, /team nobody owns nothing/],
    [
      "a team with its organisation",
      { owners: ["@example/web"], isNewTeam: true },
      UsageError,
      /no name of a team/,
    ],
    ["a team twice", { owners: ["web", "web"] }, UsageError, /web twice/],
    ["a path that the gateway does not have", { route: "/carts" }, UsageError, /no path of the gateway/],
    ["a path that ends with a slash", { route: "/api/v1/carts/" }, UsageError, /no path/],
    ["a repository without its owner", { source: "cart" }, UsageError, /no repository/],
    ["a repository's address", { source: "https://forge.test/shop/cart" }, UsageError, /no repository/],
    ["a short commit", { sha: "0123456" }, UsageError, /no commit/],
    ["a tag", { sha: "v1.2.3" }, UsageError, /no commit/],
    ["a Secret with capitals", { secrets: [secret("Mail", "user")] }, UsageError, /no name of a Secret/],
    ["a Secret without keys", { secrets: [secret("mail")] }, UsageError, /mail has no key/],
    ["a key with a space", { secrets: [secret("mail", "a b")] }, UsageError, /mail has no key/],
    ["a key twice", { secrets: [secret("mail", "a", "a")] }, UsageError, /a twice/],
    ["a Secret twice", { secrets: [secret("mail", "a"), secret("mail", "b")] }, RefusedError, /one of cart/],
    ["another app's Secret", { secrets: [secret("login", "a")] }, RefusedError, /login is one of disk/],
    [
      "the name of its copy of a store's Secret",
      { stores: ["disk"], secrets: [secret("cart-disk", "a")] },
      RefusedError,
      /cart-disk is one of cart/,
    ],
  ])("%s", async (_, change, kind, message) => {
    const root = await tree({ "base/components/labels/kustomization.yaml": "kind: Component\n" });
    const asked = checkRequest(root, { ...GOOD, ...change });
    await expect(asked).rejects.toBeInstanceOf(kind);
    await expect(asked).rejects.toThrow(message);
    await expect(asked).rejects.toThrow(/^[^\n]*$/);
  });

  it("a name that is too long behind that of an environment", async () => {
    const long = "a".repeat(30);
    const environment = `kind: ConfigMap\ndata:\n  name: ${long}\n  promotesFrom: live\n  soak: 0s\n`;
    const root = await tree({ [`overlays/${long}/environment.yaml`]: environment });
    await expect(checkRequest(root, { ...GOOD, app: "b".repeat(33) })).rejects.toThrow(/has 64 characters/);
    await expect(checkRequest(root, { ...GOOD, app: "b".repeat(32) })).resolves.toBeDefined();
  });

  it("a name that an overlay has", async () => {
    const root = await tree({ "overlays/live/cart/kustomization.yaml": "resources: []\n" });
    await expect(checkRequest(root, GOOD)).rejects.toThrow(/overlays\/live\/cart is there/);
  });
});
