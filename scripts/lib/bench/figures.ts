/** Figures: what was measured, what it may be at most, and what it should be. */
import { table } from "../cli/table.ts";

export type Unit = "s" | "GB" | "%" | "items";

export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  readonly measured: number;
  /** More than this is a finding. */
  readonly limit: number;
  /** What to work towards; not met is no finding. */
  readonly aim?: number;
}

/** Whether a figure is within its limit. What could not be measured (NaN) is not. */
export function isWithinLimit({ measured, limit }: Figure): boolean {
  return measured <= limit;
}

/** The figures under their headings, with units. */
export function figureTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => {
    const { name, unit, measured, limit, aim } = figure;
    return [
      name,
      amount(measured, unit),
      amount(limit, unit),
      aim === undefined ? "" : amount(aim, unit),
      verdict(figure),
    ];
  });
  return table(["figure", "measured", "limit", "aim", "ok"], rows);
}

function verdict(figure: Figure): string {
  if (!isWithinLimit(figure)) return "NO";
  return figure.aim === undefined || figure.measured <= figure.aim ? "yes" : "yes, aim missed";
}

/** A number with its unit, as exact as it is worth. */
export function amount(value: number, unit: Unit): string {
  if (unit === "items") return String(value);
  const digits = Number.isInteger(value) ? 0 : unit === "GB" ? 2 : 1;
  return `${value.toFixed(digits)} ${unit}`;
}

/** The middle of some numbers; of an even count, the mean of the middle two; NaN of none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}
