/** A small repository of this one's shape in a temporary directory, with real Git. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { run } from "../../scripts/lib/exec.ts";

export const SHA = "0123456789abcdef0123456789abcdef01234567";

/** A directory that is gone after the test. */
export async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "unit-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes files below a directory. */
export async function write(root: string, files: Record<string, string | Buffer>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

/** Git in a directory, without the configuration of the person who runs the test. */
export async function git(root: string, ...args: string[]): Promise<string> {
  const identity = [
    "-c",
    "user.name=test",
    "-c",
    "user.email=test@example.com",
    "-c",
    "commit.gpgsign=false",
  ];
  const env = { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
  return run("git", [...identity, ...args], { cwd: root, env });
}

/** Commits everything and returns the commit. */
export async function commit(root: string): Promise<string> {
  await git(root, "add", "--all");
  await git(root, "commit", "--quiet", "--message", "change");
  return (await git(root, "rev-parse", "HEAD")).trim();
}

function environment(name: string, promotesFrom?: string): string {
  const from = promotesFrom === undefined ? "" : `  promotesFrom: ${promotesFrom}\n`;
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: environment\ndata:\n  name: ${name}\n${from}  soak: 30m\n`;
}

/** The account that reports on deployments: whose token the tests of the forge have. */
export const REPORTER = "sandbox";

/** The settings of a checkout. */
export function settings(repoURL: string, forgeAPI: string, revision = "main"): string {
  return `kind: ConfigMap\ndata:\n  repoURL: ${repoURL}\n  revision: ${revision}\n  forgeAPI: ${forgeAPI}\n  registry: registry.shop.test\n  domain: shop.test\n  reporter: ${REPORTER}\n`;
}

/** Files of a tree with one service, `web`, one store, `disk`, and the environments dev, test and live. */
export function smallTree(): Record<string, string> {
  const overlay = (resource: string) => `resources:\n  - ${resource}\n`;
  const pinned = `images:\n  - name: registry/shop/web\n    newTag: "${SHA}"\n`;
  return {
    "apps/web.yaml":
      "app: web\nnamespace: shop\nkind: service\nimage: shop/web\nsource: shop/web\nowners:\n  - web\n",
    "apps/disk.yaml": "app: disk\nnamespace: shop\nkind: store\nowners:\n  - data\n",
    "argocd/settings/settings.yaml": settings("https://forge.test/shop/x.git", "https://forge.test/api/v1"),
    "base/components/labels/kustomization.yaml":
      "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels:\n  - pairs:\n      part-of: shop\n",
    "base/web/kustomization.yaml": "resources:\n  - pod.yaml\ncomponents:\n  - ../components/labels\n",
    "base/web/pod.yaml":
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n    - name: app\n      image: registry/shop/web\n",
    "base/disk/kustomization.yaml": "resources:\n  - claim.yaml\n",
    "base/disk/claim.yaml": "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: disk\n",
    "overlays/dev/environment.yaml": environment("dev"),
    "overlays/test/environment.yaml": environment("test", "dev"),
    "overlays/live/environment.yaml": environment("live", "test"),
    "overlays/dev/web/kustomization.yaml": overlay("../../../base/web") + pinned,
    "overlays/dev/disk/kustomization.yaml": overlay("../../../base/disk"),
    ...Object.fromEntries(
      ["test", "live"].flatMap((env) =>
        ["web", "disk"].map((app) => [`overlays/${env}/${app}/kustomization.yaml`, overlay("release.yaml")]),
      ),
    ),
  };
}

/** A Deployment `web` that says nothing of its replicas, and its autoscaler. */
export const SCALED = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
        - name: app
          image: registry/shop/web
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  minReplicas: 1
  maxReplicas: 3
`;

/** A repository with the small tree, committed. */
export async function smallRepository(): Promise<string> {
  const root = await temporary();
  await write(root, smallTree());
  await git(root, "init", "--quiet", "--initial-branch=main");
  await commit(root);
  return root;
}
