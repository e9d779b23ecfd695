/** Plain aligned tables, for people; machines read `--json`. */
import Table from "cli-table3";

const SIDES = ["top", "bottom", "left", "right"] as const;
const PARTS = ["", "-mid", "-left", "-right"] as const;
const NO_BORDER = Object.fromEntries([
  ...SIDES.flatMap((side) => PARTS.map((part) => [`${side}${part}`, ""])),
  ...["mid", "left-mid", "mid-mid", "right-mid"].map((part) => [part, ""]),
  ["middle", "  "],
]);

/**
 * Renders rows under their headings.
 * @param headings column headings in order
 * @param rows one string per heading and row
 * @returns lines without borders, colours or trailing blanks
 */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const grid = new Table({
    head: [...headings],
    chars: NO_BORDER,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  grid.push(...rows.map((row) => [...row]));
  return grid
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
