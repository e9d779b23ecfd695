/** Figures: a measurement, its limit, and its aim. */
import { table } from "../scripts/lib/cli/table.ts";
import { median as middle } from "../scripts/lib/median.ts";

export type Unit = "s" | "GB" | "%" | "items";

export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  /** All of them; the median counts. */
  readonly measured: readonly number[];
  /** More than this is a finding; Infinity for what others are compared with. */
  readonly limit: number;
  /** A goal; to miss it is no finding. */
  readonly aim?: number;
}

export interface BenchOptions {
  /** How often a measurement is repeated. */
  readonly runs: number;
  /** How many services a large tree has. */
  readonly services: number;
  /** Gets a line for each step. */
  readonly say: (line: string) => void;
  /** Gets the clean-up for an interruption. */
  readonly onInterrupt: (undo: () => Promise<unknown>) => void;
}

/** Measures. @param root this repository, with the tools built; it is only read */
export type Bench = (root: string, options: BenchOptions) => Promise<Figure[]>;

/** Whether a figure is within its limit. Without a measurement it is not. */
export function isWithinLimit({ measured, limit }: Figure): boolean {
  return median(measured) <= limit;
}

/** The figures under their headings, with units. */
export function figureTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { name, unit, measured, limit, aim } = figure;
    const all = measured.length < 2 ? "" : measured.map((one) => amount(one, unit, false)).join(" ");
    const goal = aim === undefined ? "" : amount(aim, unit);
    const most = limit === Number.POSITIVE_INFINITY ? "" : amount(limit, unit);
    return [name, amount(median(measured), unit), most, goal, verdictOf(figure), all];
  });
  return table(["figure", "median", "limit", "aim", "ok", "all"], rows);
}

function verdictOf(figure: Figure): string {
  if (figure.limit === Number.POSITIVE_INFINITY) return "";
  if (!isWithinLimit(figure)) return "NO";
  return median(figure.measured) > (figure.aim ?? Number.POSITIVE_INFINITY) ? "yes, aim missed" : "yes";
}

/** A number with its unit, as exact as it is worth. */
export function amount(value: number, unit: Unit, hasUnit = true): string {
  if (unit === "items") return String(value);
  const digits = Number.isInteger(value) ? 0 : unit === "GB" ? 2 : 1;
  return `${value.toFixed(digits)}${hasUnit ? ` ${unit}` : ""}`;
}

/** The middle of some numbers; NaN of none. */
export function median(numbers: readonly number[]): number {
  return middle(numbers) ?? Number.NaN;
}
