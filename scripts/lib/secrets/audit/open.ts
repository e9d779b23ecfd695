/** The audit with a key: it finds tampering, and copies that differ. Values stay in memory. */
import { CommandError, RefusedError } from "../../errors.ts";
import type { Finding } from "../../finding.ts";
import type { SecretValues } from "../credential.ts";
import { nameOf } from "../keys/recipients.ts";
import { pathOf, valuesOf } from "../sealed.ts";
import { NoKeyError, type Sops } from "../sops.ts";
import type { Audited } from "./audit.ts";
import { fault, type Look, sealAgain } from "./sealed-file.ts";

export interface Opened {
  findings: Finding[];
  /** Paths of the files that a key here opens. */
  opened: string[];
  /** Paths of the files for which no key is here, by the names of their recipients. */
  closed: Map<string, string[]>;
}

/**
 * Opens each file. A key that is here has to open every file that names its recipient: the files are not believed, since anybody
 * can write a recipient's name beside another data key.
 * @throws ExternalError when sops cannot be started
 */
export async function openSecrets(
  { looks, rules }: Pick<Audited, "looks" | "rules">,
  sops: Sops,
): Promise<Opened> {
  const sealed = looks.filter(({ file }) => file.sops !== undefined);
  const tries = await Promise.all(sealed.map(async (look) => ({ look, result: await open(look, sops) })));
  const opened = new Map(
    tries.flatMap(({ look, result }) => (result instanceof Map ? [[look, result]] : [])),
  );
  const locked = tries.flatMap(({ look, result }) => (result instanceof NoKeyError ? [look] : []));
  const here = await keysHere(new Set(locked.flatMap(recipientsOf)), sops);
  const closed = new Map<string, string[]>();
  const findings = tries.flatMap(({ look, result }) => {
    if (result instanceof Map) return [];
    const { recipients = [] } = rules.find(({ environment }) => environment === look.environment) ?? {};
    if (!(result instanceof NoKeyError))
      return [
        fault(
          look,
          [],
          result instanceof RefusedError ? "changed since it was sealed" : "sops cannot read it",
        ),
      ];
    const own = recipientsOf(look).find((recipient) => here.has(recipient));
    if (own !== undefined)
      return [fault(look, [], `the data key for ${nameOf(recipients, own)} is another's, or damaged`)];
    const names = recipientsOf(look).map((key) => nameOf(recipients, key));
    closed.set(names.join(", "), [...(closed.get(names.join(", ")) ?? []), look.path]);
    return [];
  });
  return {
    findings: [...findings, ...valueFindings(opened)],
    opened: [...opened.keys()].map(({ path }) => path),
    closed,
  };
}

async function open({ path, text }: Look, sops: Sops): Promise<SecretValues | CommandError> {
  try {
    return valuesOf(await sops.open(path, text));
  } catch (error) {
    // An error with a cause is about the program, not about the file.
    if (error instanceof CommandError && error.cause === undefined) return error;
    throw error;
  }
}

function recipientsOf({ file }: Look): readonly string[] {
  return file.sops?.recipients ?? [];
}

/** The recipients whose private keys are here. */
async function keysHere(recipients: ReadonlySet<string>, sops: Sops): Promise<Set<string>> {
  const has = await Promise.all(
    [...recipients].map(async (recipient) => ((await sops.hasKeyOf(recipient)) ? [recipient] : [])),
  );
  return new Set(has.flat());
}

/** Values that differ from the catalogue's, or from those of another copy of the credential. */
function valueFindings(opened: ReadonlyMap<Look, SecretValues>): Finding[] {
  const first = new Map<string, { look: Look; values: SecretValues }>();
  return [...opened].flatMap(([look, values]) => {
    const { credential, environment } = look;
    const id = `${environment} ${credential.id}`;
    const other = first.get(id);
    if (other === undefined) first.set(id, { look, values });
    return [...credential.keys].flatMap(([key, kind]): Finding[] => {
      const value = values.get(key);
      if (value === undefined) return [];
      const at = (what: string) => [
        fault(look, pathOf(look.file, key), what, `seal it again: ${sealAgain(look)}`),
      ];
      if ("fixed" in kind && !Buffer.from(kind.fixed).equals(value))
        return at(`${key} is not what the catalogue says`);
      const same = other?.values.get(key);
      if (other === undefined || same === undefined || Buffer.from(same).equals(value)) return [];
      return at(`${key} differs from ${other.look.path}, a copy of the same credential`);
    });
  });
}
