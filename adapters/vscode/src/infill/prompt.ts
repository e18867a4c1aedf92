// The fill-in-the-middle prompt: the twin of umad/infill/prompt.py, for one file.

import type { Cut } from "./cut";

export type Tokenize = (text: string) => Promise<number[]>;

export interface FimTokens {
  prefix: number;
  suffix: number;
  middle: number;
  repo?: number | undefined;
  separator?: number | undefined;
  bos?: number | undefined;
}

export interface Facts {
  fim_tokens?: Record<string, number>;
  bos_token?: number;
  adds_bos?: boolean;
}

const WINDOW_TOKENS = 2048;
const STRIDES = 8;

// null for a model that cannot fill in the middle.
export function fimTokensOf(facts: Facts): FimTokens | null {
  const known: Record<string, number> = facts.fim_tokens ?? {};
  const { prefix, suffix, middle, repo, separator } = known;
  if (prefix === undefined || suffix === undefined || middle === undefined) return null;
  return { prefix, suffix, middle, repo, separator, bos: facts.adds_bos ? facts.bos_token : undefined };
}

export async function promptIds(
  cut: Pick<Cut, "before" | "after">,
  marks: FimTokens,
  tokenize: Tokenize,
  { cells, nPredict, name = "", project = "" }: { cells: number; nPredict: number; name?: string; project?: string },
): Promise<number[]> {
  nPredict = keptFree(cells, nPredict);
  const window = windowOf(cells, nPredict);
  const quarter = Math.floor(window / 4);
  const of = (text: string): Promise<number[]> => (text ? tokenize(text) : Promise.resolve([]));
  const [before, after, names] = await Promise.all([of(cut.before), of(cut.after), nameIds(name, project, marks, of)]);
  const room = Math.max(0, cells - window - 2 * nPredict);
  return [
    ...(room ? names.slice(-room) : []),
    ...(marks.bos === undefined ? [] : [marks.bos]),
    marks.prefix,
    ...endOf(before, 3 * quarter),
    marks.suffix,
    ...after.slice(0, Math.max(0, quarter - 3)),
    marks.middle,
  ];
}

// For a model without marks, which goes on behind `before` and sees nothing else.
export async function continuationIds(
  before: string,
  tokenize: Tokenize,
  facts: Facts,
  { cells, nPredict }: { cells: number; nPredict: number },
): Promise<number[]> {
  const ids = before ? endOf(await tokenize(before), windowOf(cells, keptFree(cells, nPredict))) : [];
  return ids.length && facts.adds_bos && facts.bos_token !== undefined ? [facts.bos_token, ...ids] : ids;
}

async function nameIds(name: string, project: string, marks: FimTokens, of: Tokenize): Promise<number[]> {
  if (!name || marks.separator === undefined) return [];
  const repo = marks.repo === undefined ? [] : [marks.repo, ...(await of(`${project || "project"}\n`))];
  return [...repo, marks.separator, ...(await of(`${name}\n`))];
}

// An answer that wants more of a small context than half gets what is left.
const keptFree = (cells: number, nPredict: number): number => Math.min(nPredict, Math.floor(cells / 2));

const windowOf = (cells: number, nPredict: number): number =>
  Math.max(8, Math.min(WINDOW_TOKENS, cells - nPredict - 1));

function endOf(ids: number[], most: number): number[] {
  const beyond = ids.length - most;
  if (beyond <= 0) return ids;
  const stride = Math.max(1, Math.floor(most / STRIDES));
  return ids.slice(Math.ceil(beyond / stride) * stride);
}
