// Asks the daemon for one completion, and makes of the answer what is shown: the twin of
// umad/infill/ghost.py. It knows no editor.

import type { Model, UmadClient } from "../socket/client";
import { UmadError } from "../socket/errors";
import type { Cut } from "./cut";
import type { Manner } from "./manner";
import { continuationIds, fimTokensOf, promptIds } from "./prompt";
import { RecentAnswers } from "./recent";
import { trimmed } from "./trim";

// The app's name for the daemon's rules and lists: the process that asks is only called node.
export const APP = "vscode";

export interface Asked {
  cut: Cut;
  manner: Manner;
  // The file's name within its project.
  name: string;
  project: string;
  // "" for the first model that can fill in the middle, else the first.
  model: string;
  lane: string;
}

export interface Ghost {
  text: string;
  model: string;
  // The model has no marks, and saw only the text before the cursor.
  isBlind: boolean;
}

export class GhostWriter {
  readonly #recent = new RecentAnswers();

  constructor(private readonly client: Pick<UmadClient, "call" | "models" | "tokenize" | "generate">) {}

  // What an earlier answer still says here; null where the daemon has to be asked.
  remembered(asked: Asked): string | null {
    return this.#recent.find(scopeOf(asked), asked.cut);
  }

  async write(asked: Asked, signal: AbortSignal): Promise<Ghost> {
    const model = await this.#model(asked.model, signal);
    const tokenize = (text: string): Promise<number[]> => this.client.tokenize(text, model.name, signal);
    const room = { cells: model.ctx!, nPredict: asked.manner.maxTokens };
    const marks = fimTokensOf(model);
    const ids = marks
      ? await promptIds(asked.cut, marks, tokenize, { ...room, name: asked.name, project: asked.project })
      : await continuationIds(asked.cut.before, tokenize, model, room);
    const text = ids.length ? await this.#shown(asked, model.name, ids, signal) : "";
    this.#recent.keep(scopeOf(asked), asked.cut, text);
    return { text, model: model.name, isBlind: marks === null };
  }

  forget(): void {
    this.#recent.clear();
  }

  async #model(named: string, signal: AbortSignal): Promise<Model> {
    const rows = await this.client.models(signal);
    const found = modelOf(rows, named);
    if (found) return found;
    try {
      // It still loads, or the daemon loads models for the requests that name them.
      return (await this.client.call("load", { model: named, as_request: true }, signal)) as Model;
    } catch (error) {
      if ((error as UmadError).code !== "unknown_model") throw error;
      const names = ready(rows).map((row) => row.name).join(", ") || "none";
      throw new UmadError("unknown_model", `the model ${named} is not loaded: umad load ${named}, or choose one that is: ${names}`);
    }
  }

  async #shown(asked: Asked, model: string, ids: number[], signal: AbortSignal): Promise<string> {
    const { cut, manner } = asked;
    const enough = new AbortController();
    let text = "";
    const onText = (piece: string): void => {
      text += piece;
      if (!piece.includes("\n")) return;
      const whole = text.slice(0, text.lastIndexOf("\n")).trimEnd();
      // It has come to the lines behind the cursor: the rest would be cut off.
      if (whole && trimmed(whole, cut, manner.isSingle).length < whole.length) enough.abort();
    };
    const fields = {
      type: "generate",
      prompt_ids: ids,
      model,
      lane: asked.lane || undefined,
      app: APP,
      // The likeliest text: an answer that is kept is what would be said again.
      temperature: 0,
      max_tokens: manner.maxTokens,
      fit: true,
      stop: manner.stop.length ? manner.stop : undefined,
    };
    try {
      await this.client.generate(fields, onText, AbortSignal.any([signal, enough.signal]));
    } catch (error) {
      if (!enough.signal.aborted || signal.aborted) throw error;
    }
    return trimmed(text, cut, manner.isSingle);
  }
}

// A model that is still loading has no facts yet.
const ready = (rows: Model[]): Model[] => rows.filter((row) => row.ctx && row.generates !== false);

// The loaded model that is asked; null where none has this name. `named` is as a person writes it: the
// name, or its beginning.
export function modelOf(rows: Model[], named: string): Model | null {
  const known = ready(rows);
  if (!named) {
    if (!known.length) throw new UmadError("unsupported", "no model that writes text is loaded: umad load MODEL");
    return known.find((row) => fimTokensOf(row)) ?? known[0]!;
  }
  const plain = (name: string): string => name.toLowerCase().replace(/(:latest|\.gguf)$/, "").replace(/[\s.:_-]+/g, "-");
  for (const fits of [
    (row: Model) => row.name === named,
    (row: Model) => plain(row.name) === plain(named),
    (row: Model) => plain(row.name).startsWith(plain(named)),
  ]) {
    const found = known.filter(fits);
    if (found.length > 1) {
      throw new UmadError("unknown_model", `${named} may be ${found.map((row) => row.name).join(" or ")}; say which`);
    }
    if (found[0]) return found[0];
  }
  return null;
}

const scopeOf = (asked: Asked): string => JSON.stringify([asked.model, asked.name, asked.manner.isSingle]);
