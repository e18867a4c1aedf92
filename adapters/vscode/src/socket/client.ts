// The daemon as the extension uses it: one connection, opened when it is needed and again after a
// loss. While nobody listens it looks again by itself, so that the state shown is always true. What is
// asked of a daemon that has just gone waits for the next one, as in umad/client/returning.py.

import { connectionLost, UmadError } from "./errors";
import { Connection } from "./connection";
import type { Message } from "./frames";
import { checkFolder, socketPlaces, type Surroundings } from "./places";

export type State =
  | { kind: "connecting" }
  | { kind: "ready"; server: string }
  | { kind: "absent"; error: UmadError };

// One loaded or loading model, as `models` lists it.
export interface Model {
  name: string;
  state?: string;
  // The most tokens of one stream; absent while the model loads.
  ctx?: number;
  generates?: boolean;
  fim_tokens?: Record<string, number>;
  bos_token?: number;
  adds_bos?: boolean;
  chat_family?: string;
  thinking?: [string, string] | null;
  takes_tools?: boolean;
  // What it takes beside text: "image", "audio".
  media?: string[];
  architecture?: string;
  description?: string;
}

export interface Timers {
  after(ms: number, what: () => void): () => void;
}

export const realTimers: Timers = {
  after(ms, what) {
    const timer = setTimeout(what, ms);
    timer.unref?.();
    return () => clearTimeout(timer);
  },
};

// A daemon that restarts is back within a second or two. One that stays away costs a look at a file
// each time, so the looks become rare.
const FIRST_LOOK_MS = 100;
const LAST_LOOK_MS = 2_000;
// What is asked waits for so long after a loss.
const RETURN_MS = 5_000;

export class UmadClient {
  onState: (state: State) => void = () => {};
  #state: State = { kind: "connecting" };
  #connection: Connection | null = null;
  #opening: Promise<Connection> | null = null;
  #stopLooking: (() => void) | null = null;
  // Looks in vain since the daemon was there.
  #looks = 0;
  #lostAtMs: number | null = null;
  #isClosed = false;
  // Counts what `reconnect` did: what was being opened before it is of no use.
  #epoch = 0;

  constructor(
    private readonly name: string,
    private readonly named: () => string,
    private readonly at: Surroundings,
    private readonly timers: Timers = realTimers,
  ) {}

  get state(): State {
    return this.#state;
  }

  // Connects now, and keeps looking where that fails. Never throws.
  async start(): Promise<void> {
    await this.#look().catch(() => {});
  }

  async call(type: string, fields: Record<string, unknown> = {}, signal?: AbortSignal): Promise<unknown> {
    return (await this.#connected()).call(type, fields, signal);
  }

  async generate(fields: Message, onText: (text: string) => void, signal?: AbortSignal): Promise<Message> {
    return (await this.#connected()).generate(fields, onText, signal);
  }

  async models(signal?: AbortSignal): Promise<Model[]> {
    const rows = await this.call("models", {}, signal);
    return Array.isArray(rows) ? (rows as Model[]) : [];
  }

  async tokenize(text: string, model: string, signal?: AbortSignal): Promise<number[]> {
    // Control tokens written in a file are text.
    return (await this.call("tokenize", { text, model, special: false }, signal)) as number[];
  }

  // Drops the connection, so that the next use looks at the settings again.
  reconnect(): void {
    this.#epoch += 1;
    this.#looks = 0; // somebody waits for it: look at once again, not when it was due
    this.#opening = null;
    this.#connection?.close();
    this.#lost();
  }

  close(): void {
    this.#isClosed = true;
    this.#stopLooking?.();
    this.#connection?.close();
  }

  async #connected(): Promise<Connection> {
    for (;;) {
      try {
        return await this.#look();
      } catch (error) {
        const mayReturn = ["no_daemon", "connection_lost"].includes((error as UmadError).code);
        if (!mayReturn || this.#isClosed || this.#lostAtMs === null || Date.now() - this.#lostAtMs > RETURN_MS) throw error;
        await new Promise<void>((resolve) => this.timers.after(FIRST_LOOK_MS, resolve));
      }
    }
  }

  #look(): Promise<Connection> {
    if (this.#connection?.isOpen) return Promise.resolve(this.#connection);
    if (this.#opening === null) {
      const opening = this.#open().finally(() => {
        if (this.#opening === opening) this.#opening = null;
      });
      this.#opening = opening;
    }
    return this.#opening;
  }

  async #open(): Promise<Connection> {
    const epoch = this.#epoch;
    this.#stopLooking?.();
    let last: unknown = null;
    try {
      for (const path of socketPlaces(this.named(), this.at)) {
        try {
          checkFolder(path, this.at.uid);
          const opened = await Connection.open(path, this.name, () => this.#lost());
          if (this.#isClosed || epoch !== this.#epoch) {
            opened.close();
            throw connectionLost();
          }
          this.#connection = opened;
          this.#looks = 0;
          this.#lostAtMs = null;
          this.#show({ kind: "ready", server: opened.server });
          return opened;
        } catch (error) {
          // The first place is what a person expects; a refusal at any place says more.
          if (last === null || (error as UmadError).code !== "no_daemon") last = error;
        }
      }
      throw last ?? new UmadError("no_daemon", "there is no place for a socket: set umad.socket", true);
    } catch (error) {
      if (epoch === this.#epoch) this.#absent(error as UmadError);
      throw error;
    }
  }

  #lost(): void {
    if (this.#isClosed) return;
    this.#connection = null;
    this.#lostAtMs = Date.now();
    this.#absent(new UmadError("connection_lost", "the daemon has gone; looking for it again", true));
  }

  #absent(error: UmadError): void {
    if (this.#isClosed) return;
    this.#show({ kind: "absent", error });
    this.#stopLooking?.();
    const waitMs = Math.min(LAST_LOOK_MS, FIRST_LOOK_MS * 2 ** this.#looks++);
    this.#stopLooking = this.timers.after(waitMs, () => void this.start());
  }

  #show(state: State): void {
    const before = this.#state;
    this.#state = state;
    // Looking again and finding the same is no news.
    const isSame = before.kind === "absent" && state.kind === "absent" && before.error.message === state.error.message;
    if (!isSame) this.onState(state);
  }
}
