// The daemon as the extension uses it: one connection, opened when it is needed and again after a
// loss. While nobody listens it looks again by itself, so that the state shown is always true.

import { UmadError } from "./errors";
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

// A daemon that restarts is back within a second or two; one that is not there costs a look at a
// file each time.
const LOOK_AGAIN_MS = 2_000;

export class UmadClient {
  onState: (state: State) => void = () => {};
  #state: State = { kind: "connecting" };
  #connection: Connection | null = null;
  #opening: Promise<Connection> | null = null;
  #stopLooking: (() => void) | null = null;
  #isClosed = false;

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
    await this.#connected().catch(() => {});
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
    this.#connection?.close();
    this.#lost();
  }

  close(): void {
    this.#isClosed = true;
    this.#stopLooking?.();
    this.#connection?.close();
  }

  #connected(): Promise<Connection> {
    if (this.#connection?.isOpen) return Promise.resolve(this.#connection);
    this.#opening ??= this.#open().finally(() => (this.#opening = null));
    return this.#opening;
  }

  async #open(): Promise<Connection> {
    this.#stopLooking?.();
    let last: unknown = null;
    try {
      for (const path of socketPlaces(this.named(), this.at)) {
        try {
          checkFolder(path, this.at.uid);
          const opened = await Connection.open(path, this.name, () => this.#lost());
          if (this.#isClosed) opened.close();
          this.#connection = opened;
          this.#show({ kind: "ready", server: opened.server });
          return opened;
        } catch (error) {
          // The first place is what a person expects; a refusal at any place says more.
          if (last === null || (error as UmadError).code !== "no_daemon") last = error;
        }
      }
      throw last ?? new UmadError("no_daemon", "there is no place for a socket: set umad.socket", true);
    } catch (error) {
      this.#absent(error as UmadError);
      throw error;
    }
  }

  #lost(): void {
    if (this.#isClosed) return;
    this.#connection = null;
    this.#absent(new UmadError("connection_lost", "the daemon has gone; looking for it again", true));
  }

  #absent(error: UmadError): void {
    if (this.#isClosed) return;
    this.#show({ kind: "absent", error });
    this.#stopLooking?.();
    this.#stopLooking = this.timers.after(LOOK_AGAIN_MS, () => void this.start());
  }

  #show(state: State): void {
    const before = this.#state;
    this.#state = state;
    // Looking again and finding the same is no news.
    const isSame = before.kind === "absent" && state.kind === "absent" && before.error.message === state.error.message;
    if (!isSame) this.onState(state);
  }
}
