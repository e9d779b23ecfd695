/** `npm run report`: how many releases an environment gets, how fast, and how many are taken back. docs/status.md#report. */
import { command, main } from "./lib/cli/command.ts";
import { markdownTable } from "./lib/cli/markdown.ts";
import { table } from "./lib/cli/table.ts";
import { inWords } from "./lib/duration.ts";
import { UsageError } from "./lib/errors.ts";
import { repositoryRoot } from "./lib/repository.ts";
import { readDeployed } from "./lib/status/behind.ts";
import { beginOf, type Delivery, deploymentsOf, sumUp } from "./lib/status/delivery.ts";
import { deployedHere } from "./lib/status/sources.ts";
import { readCatalogue } from "./lib/tree/catalogue.ts";
import { findEnvironment, readEnvironments } from "./lib/tree/environment.ts";

interface Options {
  weeks: string;
  json?: true;
  markdown?: true;
  root: string;
}

const program = command(
  "report",
  "How many releases an environment gets, how fast, and how many are taken back.",
)
  .usage("[options] [env]")
  .argument("[env]", "the environment (default: the last one)")
  .option("--weeks <number>", "how many weeks, this one among them", "8")
  .option("--json", "for programs; times are in seconds")
  .option("--markdown", "the same as a list and a table")
  .option("--root <directory>", "the repository", repositoryRoot())
  .action(report);
await main(program);

async function report(
  name: string | undefined,
  { weeks: count, json, markdown, root }: Options,
): Promise<void> {
  if (json && markdown) throw new UsageError("--json and --markdown are two things", "leave one of them out");
  if (!/^[1-9]\d{0,2}$/.test(count)) throw new UsageError(`--weeks ${count} is not a number from 1 to 999`);
  const { git, name: branch, commit, notes } = await deployedHere(root);
  const { environments, catalogue } = await git.withTree(commit, ["apps", "overlays"], async (tree) => ({
    environments: await readEnvironments(tree),
    catalogue: await readCatalogue(tree),
  }));
  const [first] = environments;
  const last = environments.at(-1)?.name ?? "";
  const { name: environment, promotesFrom } = findEnvironment(environments, name ?? last);
  if (promotesFrom === undefined)
    throw new UsageError(
      `${environment} builds the live base and gets no releases`,
      "name a later environment",
    );
  const now = new Date();
  const since = beginOf(Number(count), now);
  const places = catalogue.map(({ app }) => ({ environment, app }));
  const deployed = await readDeployed(git, commit, first?.name ?? "", places);
  const found = await Promise.all(places.map(async (place) => deploymentsOf(git, place, deployed, since)));
  const { weeks, all } = sumUp(found.flat(), { since, now });
  if (json) {
    process.stdout.write(`${JSON.stringify({ environment, weeks, all }, null, 2)}\n`);
    process.stderr.write(notes.map((note) => `${note}\n`).join(""));
    return;
  }
  const title = `${environment}, ${count} weeks, from ${branch} at ${commit.slice(0, 7)}`;
  const figures = figuresOf(all, weeks.length, environment);
  const rows = weeks.map((week) => [
    week.week ?? "",
    String(week.deployments),
    String(week.rolledBack),
    spanOf(week.leadSeconds),
  ]);
  const headings = ["WEEK OF", "DEPLOYMENTS", "ROLLED BACK", "LEAD TIME"];
  const parts = markdown
    ? [
        `**${title}**`,
        figures.map((cells) => `- ${cells.join(": ")}`).join("\n"),
        markdownTable(headings, rows),
      ]
    : [title, table(["FIGURE", "", ""], figures).split("\n").slice(1).join("\n"), table(headings, rows)];
  process.stdout.write(`${[...parts, ...notes].join("\n\n")}\n`);
}

function figuresOf(all: Delivery, weeks: number, environment: string): string[][] {
  const { deployments, rolledBack } = all;
  const rate = deployments === 0 ? "-" : `${Math.round((100 * rolledBack) / deployments)} %`;
  return [
    ["deployments a week", (deployments / weeks).toFixed(1), `${deployments} releases of apps`],
    [
      "lead time",
      spanOf(all.leadSeconds),
      `from the commit that they were rendered from to ${environment}, the median`,
    ],
    ["change failure rate", rate, `${rolledBack} of ${deployments} were rolled back`],
    ["time to restore", spanOf(all.restoreSeconds), "from a release to its rollback, the median"],
  ];
}

function spanOf(seconds: number | null): string {
  return seconds === null ? "-" : inWords(seconds);
}
