/**
 * All errors and findings side by side, in test/unit/messages.txt: for a reader, who sees there what is said twice or unclear.
 * After a change of a message: npx vitest run --project unit test/unit/messages.test.ts --update
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parseAst } from "vitest/node";
import { z } from "zod";
import { repositoryRoot } from "../../scripts/lib/repository.ts";

/** A node of the syntax tree; of its other fields only those that a message is made of are looked at. */
const Node = z.looseObject({ type: z.string(), start: z.number(), end: z.number() });
type Node = z.infer<typeof Node>;

const Literal = z.object({ type: z.literal("Literal"), value: z.string() });
const Template = z.object({
  type: z.literal("TemplateLiteral"),
  quasis: z.array(z.object({ value: z.object({ cooked: z.string() }) })),
  expressions: z.array(Node),
});
const Choice = z.object({ type: z.literal("ConditionalExpression"), consequent: Node, alternate: Node });
/** `new RefusedError(message, remedy)`, or `findingIn(path, message, remedy)`, or `noteIn`. */
const Call = z.object({ callee: z.object({ name: z.string() }), arguments: z.array(Node) });

const ERROR = /^(?:Usage|Refused|External|Findings)Error$/;
const FINDING = /^(?:findingIn|findingAt|noteIn)$/;
const LONGEST_NAME = 40;

it("are as test/unit/messages.txt has them", async () => {
  const scripts = join(repositoryRoot(), "scripts");
  const files = (await readdir(scripts, { recursive: true }))
    .filter((file) => file.endsWith(".ts"))
    .toSorted();
  const parts = await Promise.all(
    files.map(async (file) => {
      const lines = messagesIn(await readFile(join(scripts, file), "utf8"));
      return lines.length === 0 ? [] : [[`scripts/${file}`, ...lines.map((line) => `  ${line}`)].join("\n")];
    }),
  );
  const text = `${parts.flat().join("\n")}\n`;
  expect(text.split("\n").length).toBeGreaterThan(300);
  await expect(text).toMatchFileSnapshot("messages.txt");
});

it("name what is put in, and both sides of a choice", () => {
  const source = [
    'throw new RefusedError(`${path}: no such file`, isNew ? "make it" : "take it back");',
    'findingIn(path, "there is no app", `name one of ${names.join(", ")}`);',
    "new Error(`not one of ours`);",
  ];
  expect(messagesIn(source.join("\n"))).toEqual([
    "<path>: no such file; make it | take it back",
    'there is no app; name one of <names.join(", ")>',
  ]);
});

/** The messages of a module's errors and findings, each with its remedy, in the order in which they stand there. */
function messagesIn(source: string): string[] {
  const found: [position: number, line: string][] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if ("callee" in value && "start" in value) {
      const texts = textsOf(Call.safeParse(value).data);
      const line = texts.map((text) => textOf(text, source)).join("; ");
      if (line !== "") found.push([Number(value.start), line]);
    }
    for (const part of Object.values(value)) visit(part);
  };
  visit(parseAst(source, { lang: "ts" }).body);
  return found.toSorted(([a], [b]) => a - b).map(([, line]) => line);
}

/** The nodes of a message and its remedy; none when the call makes no error and no finding. */
function textsOf(call: z.infer<typeof Call> | undefined): Node[] {
  const { callee, arguments: given } = call ?? { callee: { name: "" }, arguments: [] };
  const texts = ERROR.test(callee.name)
    ? given.slice(0, 2)
    : given.slice(1, FINDING.test(callee.name) ? 3 : 1);
  return texts.filter(({ type, name }) => type !== "Identifier" || name !== "undefined");
}

function textOf(node: Node, source: string): string {
  const literal = Literal.safeParse(node).data;
  if (literal !== undefined) return literal.value;
  const template = Template.safeParse(node).data;
  if (template !== undefined) {
    const parts = template.quasis.map(({ value }, index) => {
      const expression = template.expressions[index];
      return value.cooked + (expression === undefined ? "" : textOf(expression, source));
    });
    return parts.join("");
  }
  const choice = Choice.safeParse(node).data;
  if (choice !== undefined)
    return [choice.consequent, choice.alternate].map((one) => textOf(one, source)).join(" | ");
  const name = source.slice(node.start, node.end).replaceAll(/\s+/g, " ");
  return `<${name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name}>`;
}
