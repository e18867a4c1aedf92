// What of an answer is shown: the twin of umad/infill/trim.py, which explains it.

import { areClosers, type Cut } from "./cut";

export function trimmed(text: string, cut: Cut, isSingle: boolean): string {
  text = text.replaceAll("\r\n", "\n");
  if (isSingle) text = text.split("\n", 1)[0]!;
  return withoutRestOfLine(withoutNextLines(text.trimEnd(), cut), cut).trimEnd();
}

function withoutNextLines(text: string, cut: Cut): string {
  const following = cut.after.split("\n").slice(1).map((line) => line.trimEnd());
  while (following.length && !following[0]) following.shift();
  if (!following.length) return text;
  const lines = text.split("\n");
  const own = lines.map((line) => line.trimEnd());
  own[0] = (cut.lineBefore + own[0]).trimEnd();
  const begins = cut.lineBefore.trim() || cut.lineAfter.trim() ? 1 : 0;
  for (let at = begins; at < own.length; at++) {
    if (own[at] && goesOnAs(own.slice(at), following)) return lines.slice(0, at).join("\n").trimEnd();
  }
  return text;
}

function goesOnAs(lines: string[], following: string[]): boolean {
  if (lines.length > following.length) return false;
  const end = lines.length - 1;
  const last = lines[end]!;
  if (lines.slice(0, end).some((line, at) => line !== following[at])) return false;
  return last === following[end] || (end > 0 && following[end]!.startsWith(last));
}

function withoutRestOfLine(text: string, cut: Cut): string {
  const rest = cut.lineAfter.trimEnd();
  for (let length = Math.min(rest.length, text.length); length > 0; length--) {
    const end = rest.slice(0, length);
    if (!text.endsWith(end)) continue;
    const shorter = text.slice(0, text.length - length);
    if (!areClosers(end) || !lacksClosing(cut.lineBefore + shorter + rest)) return shorter;
  }
  return text;
}

function lacksClosing(line: string): boolean {
  const count = (brackets: string): number => [...line].filter((char) => brackets.includes(char)).length;
  return count("([{") > count(")]}");
}
