/** What can be wrong with sealed files that only shows with a key: tampering, and copies that differ. Values stay in memory. */
import { isMap, isSeq, parseDocument } from "yaml";
import { CommandError, RefusedError } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { Audited } from "./audit.ts";
import { fault, type Look, sealAgain } from "./audit-file.ts";
import type { SecretValues } from "./credential.ts";
import { nameOf } from "./recipients.ts";
import { pathOf, valuesOf } from "./sealed.ts";
import { NoKeyError, type Sops } from "./sops.ts";

export interface Opened {
  findings: Finding[];
  /** Paths of the files that a key here opens. */
  opened: string[];
  /** Paths of the files that none opens, by the names of those who could. */
  closed: Map<string, string[]>;
}

/** What became of one recipient's data key in one file. */
interface Try {
  look: Look;
  recipient: string;
  values: SecretValues | undefined;
  fault: CommandError | undefined;
}

/**
 * Opens each file with each data key by itself. A recipient whose private key is here has to open all files that name it, and
 * no key here a data key that is another's.
 * @throws ExternalError when sops cannot be started
 */
export async function openSecrets(
  { looks, rules }: Pick<Audited, "looks" | "rules">,
  sops: Sops,
): Promise<Opened> {
  const sealed = looks.filter(({ file }) => file.sops !== undefined);
  const tries = await Promise.all(
    sealed.flatMap((look) =>
      [...new Set(look.file.sops?.recipients)].map(async (recipient) => tryOne(look, recipient, sops)),
    ),
  );
  const here = await keysHere(new Set(tries.map(({ recipient }) => recipient)), sops);
  const name = ({ look, recipient }: Try) =>
    nameOf(rules.find(({ environment }) => environment === look.environment)?.recipients ?? [], recipient);
  const findings = tries.flatMap((one) => {
    const what = whatIsWrong(one, here.has(one.recipient), name(one));
    return what === undefined ? [] : [fault(one.look, [], what)];
  });
  const opened = new Map(
    tries.flatMap(({ look, values }) => (values === undefined ? [] : [[look, values] as const])),
  );
  const closed = new Map<string, string[]>();
  for (const look of sealed) {
    const own = tries.filter((one) => one.look === look);
    if (own.some(({ recipient }) => here.has(recipient))) continue;
    const who = own.map(name).join(", ");
    closed.set(who, [...(closed.get(who) ?? []), look.path]);
  }
  return {
    findings: [...unique(findings), ...valueFindings(opened)],
    opened: [...opened.keys()].map(({ path }) => path),
    closed,
  };
}

async function tryOne(look: Look, recipient: string, sops: Sops): Promise<Try> {
  try {
    const text = look.file.sops?.recipients.length === 1 ? look.text : onlyFor(look.text, recipient);
    return { look, recipient, values: valuesOf(await sops.open(look.path, text)), fault: undefined };
  } catch (error) {
    // With a cause it is about the program, not about the file.
    if (error instanceof CommandError && error.cause === undefined)
      return { look, recipient, values: undefined, fault: error };
    throw error;
  }
}

/** Those of some recipients whose private keys are here. The files are not asked: somebody may have made them. */
async function keysHere(recipients: ReadonlySet<string>, sops: Sops): Promise<Set<string>> {
  const has = await Promise.all(
    [...recipients].map(async (recipient) => [recipient, await sops.hasKeyOf(recipient)] as const),
  );
  return new Set(has.flatMap(([recipient, isHere]) => (isHere ? [recipient] : [])));
}

function whatIsWrong({ values, fault: why }: Try, isHere: boolean, name: string): string | undefined {
  if (values !== undefined)
    return isHere ? undefined : `the data key for ${name} opens with a key that is not its own`;
  if (why instanceof NoKeyError)
    return isHere ? `the data key for ${name} is another's, or damaged` : undefined;
  return isChanged(why) ? "changed since it was sealed" : "sops cannot read it";
}

/** Whether a file's data key was found, and does not fit what the file has. */
function isChanged(why: CommandError | undefined): boolean {
  return why instanceof RefusedError && !(why instanceof NoKeyError);
}

/** The file as if it were sealed for one recipient only. */
function onlyFor(text: string, recipient: string): string {
  const document = parseDocument(text);
  const ages = document.getIn(["sops", "age"]);
  if (isSeq(ages))
    ages.items = ages.items.filter((item) => isMap(item) && item.get("recipient") === recipient);
  return document.toString({ lineWidth: 0 });
}

/** Two keys of one file may find the same. */
function unique(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((finding) => [`${finding.path} ${finding.what}`, finding])).values()];
}

/** Whether values are what the catalogue says, and the same in all copies of a credential. */
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
      return at(`${key} is another than in ${other.look.path}, a copy of the same credential`);
    });
  });
}
