/** Repositories and clusters as Argo CD has them: Secrets by a label, and most of what is in them is none. */
const LABEL = "argocd.argoproj.io/secret-type";
const TYPES = ["repository", "repo-creds", "repository-write", "repo-write-creds", "cluster"];

const isAny = () => true;
const isSwitch = (value: string) => value === "true" || value === "false";
/**
 * The fields that are no secret, with what they may hold. All others are one: `config` and `proxy` have passwords in them.
 * https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/
 */
const FIELDS: ReadonlyMap<string, (value: string) => boolean> = new Map([
  ["type", (value) => ["git", "helm", "oci"].includes(value)],
  ["url", hasNoCredential],
  ["server", hasNoCredential],
  ["name", isAny],
  ["project", isAny],
  ["enableOCI", isSwitch],
  ["enableLfs", isSwitch],
  ["insecure", isSwitch],
  ["forceHttpBasicAuth", isSwitch],
]);

/** Whether a label makes a Secret a declaration. */
export function isDeclaration(label: string, value: string): boolean {
  return label === LABEL && TYPES.includes(value);
}

/** Whether a field of a declaration may be there in clear. @param block in which it is: `data` is base64 */
export function isPublicField(block: string, name: string, value: string): boolean {
  const text = block === "data" ? Buffer.from(value, "base64").toString("utf8") : value;
  return FIELDS.get(name)?.(text.trim()) ?? false;
}

/** A host and a path without a scheme, as registries have them; or SSH's `git@host:path`. */
const PLACE = /^(?:[\w.-]+@)?[\w.-]+(?:[:/][\w./~-]*)?$/;

/** Whether an address names no more than a user of SSH: a token can stand for another user, or come at the end. */
function hasNoCredential(address: string): boolean {
  if (!address.includes("://")) return PLACE.test(address);
  if (!URL.canParse(address)) return false;
  const { protocol, username, password, search, hash } = new URL(address);
  return password === "" && `${search}${hash}` === "" && (username === "" || protocol === "ssh:");
}
