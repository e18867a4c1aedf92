// A daemon whose every word a test decides: a real socket, real frames, no model.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { frameOf, FrameReader, type Message } from "../src/socket/frames";

type Answer = (message: Message, say: (message: Message) => void, socket: Socket) => void;

export class ScriptedDaemon {
  readonly heard: Message[] = [];
  readonly path: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "umad-"));
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  // Resolved at each message that is heard.
  #waiting: (() => void)[] = [];

  constructor(private readonly answer: Answer) {
    this.path = join(this.#folder, "s");
  }

  async start(): Promise<this> {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      const reader = new FrameReader();
      const say = (message: Message): void => void socket.write(frameOf(message));
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("data", (data) => {
        for (const message of reader.feed(data)) {
          this.heard.push(message);
          this.answer(message, say, socket);
        }
        this.#waiting.splice(0).forEach((go) => go());
      });
    });
    await new Promise<void>((resolve) => this.#server!.listen(this.path, resolve));
    return this;
  }

  // Waits until a message of this type was heard.
  async hears(type: string, times = 1): Promise<Message> {
    for (;;) {
      const found = this.heard.filter((message) => message.type === type);
      if (found.length >= times) return found[times - 1]!;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  // As a kill -9 does: connections end, and the socket's file stays or goes with the server.
  async stop(): Promise<void> {
    this.#sockets.forEach((socket) => socket.destroy());
    await new Promise<void>((resolve) => this.#server!.close(() => resolve()));
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export const MODEL = {
  name: "coder",
  ctx: 4096,
  generates: true,
  fim_tokens: { prefix: 1001, suffix: 1002, middle: 1003 },
  chat_family: "hermes",
};

// Greets, lists one model, takes texts apart into letters, and answers generations with these pieces.
export function usual(pieces: string[], models: unknown[] = [MODEL]): Answer {
  return (message, say) => {
    const { id } = message;
    if (message.type === "hello") say({ type: "hello", protocol: 1, server: "umad/0.1.0" });
    if (message.type === "models") say({ type: "result", id, value: models });
    // It loads one more model for whoever asks for it.
    if (message.type === "load" && message["model"] === "lazy") say({ type: "result", id, value: { ...MODEL, name: "lazy" } });
    else if (message.type === "load") say({ type: "error", id, code: "unknown_model", message: "there is none", field: "model", retryable: false });
    if (message.type === "tokenize") {
      say({ type: "result", id, value: [...String(message["text"])].map((letter) => letter.codePointAt(0)) });
    }
    if (message.type === "cancel") say({ type: "result", id, value: null });
    if (message.type === "generate" || message.type === "chat") {
      say({ type: "accepted", id, request: "r1", model: "coder", lane: "interactive", queue_position: 0 });
      for (const text of pieces) say({ type: "tokens", id, index: 0, text, ids: [7] });
      say({ type: "done", id, index: 0, finish_reason: "stop", stop: null });
    }
  };
}
