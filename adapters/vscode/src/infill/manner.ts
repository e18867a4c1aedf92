// Whether to ask at a key, and for one line or several: the twin of umad/infill/manner.py.

import { areClosers, type Cut } from "./cut";

export type Lines = "auto" | "single" | "multi";

export interface Manner {
  isSingle: boolean;
  stop: string[];
  maxTokens: number;
}

const SINGLE: Manner = { isSingle: true, stop: ["\n"], maxTokens: 48 };
const MULTI: Manner = { isSingle: false, stop: [], maxTokens: 128 };
const WORD_AT_END = /[\p{L}\p{N}_]$/u;
const WORD_AT_BEGINNING = /^[\p{L}\p{N}_]/u;

// null: not at all. isAutomatic: a key was typed, and nobody asked on purpose.
export function mannerOf(cut: Cut, lines: Lines = "auto", isAutomatic = true): Manner | null {
  if (!cut.isText || !(cut.before.trim() || cut.after.trim())) return null;
  if (isAutomatic && WORD_AT_END.test(cut.lineBefore) && WORD_AT_BEGINNING.test(cut.lineAfter)) return null;
  if (lines === "single") return SINGLE;
  if (lines === "multi") return MULTI;
  return areClosers(cut.lineAfter) ? MULTI : SINGLE;
}
