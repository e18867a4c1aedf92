// Cuts the text around the cursor out of a file: the twin of umad/infill/cut.py, which explains it.

export const BEFORE_LINES = 256;
export const AFTER_LINES = 64;
const STRIDE_LINES = 64;
// Counted in UTF-16 units here, in characters there: only texts beyond it can differ.
const BEFORE_CHARS = 16_384;
const AFTER_CHARS = 4_096;
const STRIDE_CHARS = 4_096;
// What may stand behind the cursor where a line is as good as finished.
const CLOSERS = new Set(" \t)]}>\"'`;,:");

export const areClosers = (text: string): boolean => [...text].every((char) => CLOSERS.has(char));

export class Cut {
  constructor(
    readonly before: string,
    readonly after: string,
  ) {}

  get lineBefore(): string {
    return this.before.slice(this.before.lastIndexOf("\n") + 1);
  }

  get lineAfter(): string {
    return this.after.split("\n", 1)[0]!;
  }

  get isText(): boolean {
    return !this.before.includes("\0") && !this.after.includes("\0");
  }
}

// lineAt: a line of the file by its number from 0, without its end. column: units before the cursor.
export function cutAround(lineAt: (line: number) => string, nLines: number, line: number, column: number): Cut {
  if (nLines <= 0) return new Cut("", "");
  line = Math.min(Math.max(line, 0), nLines - 1);
  const here = lineAt(line);
  column = Math.min(Math.max(column, 0), here.length);
  const lines = (from: number, to: number): string[] =>
    Array.from({ length: Math.max(0, to - from) }, (_, at) => lineAt(from + at));
  const before = [...lines(firstLine(line), line), here.slice(0, column)].join("\n");
  const last = Math.min(nLines, line + 1 + AFTER_LINES);
  const after = [here.slice(column), ...lines(line + 1, last)].join("\n");
  return new Cut(endOf(before), beginningOf(after));
}

function firstLine(line: number): number {
  const least = Math.max(0, line - BEFORE_LINES);
  return Math.ceil(least / STRIDE_LINES) * STRIDE_LINES;
}

function endOf(text: string): string {
  const beyond = text.length - BEFORE_CHARS;
  if (beyond <= 0) return text;
  const kept = text.slice(Math.ceil(beyond / STRIDE_CHARS) * STRIDE_CHARS);
  return isLow(kept, 0) ? kept.slice(1) : kept;
}

function beginningOf(text: string): string {
  if (text.length <= AFTER_CHARS) return text;
  return text.slice(0, isLow(text, AFTER_CHARS) ? AFTER_CHARS - 1 : AFTER_CHARS);
}

// Whether the unit there is the second half of a character.
function isLow(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff;
}
