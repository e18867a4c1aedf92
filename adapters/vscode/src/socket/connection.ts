// One connection to the daemon: hello, many requests at once, each with its own listener.
// Owner: whoever opened it; after `onClosed` it is of no use any more.

import { createConnection, type Socket } from "node:net";
import { cancelled, connectionLost, noDaemon, UmadError, wrongVersion } from "./errors";
import { frameOf, FrameReader, type Message } from "./frames";

export const PROTOCOL = 1;
// To connect and be greeted: a service manager may just have begun to start the daemon.
const CONNECT_MS = 20_000;

type Listener = {
  // Called with each message about the request; true ends it.
  hear: (message: Message) => boolean;
  fail: (error: Error) => void;
};

export class Connection {
  readonly server: string;
  readonly #socket: Socket;
  readonly #live = new Map<number, Listener>();
  #lastId = 0;
  #error: Error | null = null;

  private constructor(socket: Socket, server: string) {
    this.#socket = socket;
    this.server = server;
  }

  get isOpen(): boolean {
    return this.#error === null;
  }

  // Connects and greets. onClosed is called once, when an open connection has ended.
  static open(path: string, name: string, onClosed: () => void): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const reader = new FrameReader();
      let connection: Connection | null = null;
      const socket = createConnection(path);
      const timer = setTimeout(() => end(new UmadError("no_daemon", `the daemon on ${path} does not answer`, true)), CONNECT_MS);
      const end = (error: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        if (connection === null) return reject(error);
        if (connection.#end(error)) onClosed();
      };
      socket.on("connect", () => socket.write(frameOf({ type: "hello", protocol: PROTOCOL, client: name })));
      socket.on("error", (error: NodeJS.ErrnoException) => end(connectError(path, error)));
      socket.on("close", () => end(connectionLost()));
      socket.on("data", (data) => {
        try {
          for (const message of reader.feed(data)) {
            if (connection !== null) connection.#hear(message);
            else {
              connection = new Connection(socket, welcomed(message));
              clearTimeout(timer);
              resolve(connection);
            }
          }
        } catch (error) {
          end(error as Error);
        }
      });
    });
  }

  // The value of a request with one answer.
  call(type: string, fields: Record<string, unknown> = {}, signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#ask({ type, ...fields }, signal, reject, (message) => {
        resolve(message["value"]);
        return true;
      });
    });
  }

  // Runs a generation to its end; resolves with its `done`. Aborting cancels it at the daemon.
  generate(fields: Message, onText: (text: string) => void, signal?: AbortSignal): Promise<Message> {
    return new Promise((resolve, reject) => {
      this.#ask(fields, signal, reject, (message) => {
        if (message.type === "tokens") onText(String(message["text"]));
        if (message.type === "done") resolve(message);
        return message.type === "done";
      });
    });
  }

  close(): void {
    this.#end(connectionLost());
    this.#socket.destroy();
  }

  #ask(
    fields: Message,
    signal: AbortSignal | undefined,
    reject: (error: Error) => void,
    hear: (message: Message) => boolean,
  ): void {
    if (this.#error !== null) return reject(this.#error);
    if (signal?.aborted) return reject(cancelled());
    const id = ++this.#lastId;
    let frame: Buffer;
    try {
      frame = frameOf({ ...fields, id });
    } catch (error) {
      return reject(error as Error);
    }
    const cancel = (): void => {
      if (!this.#live.delete(id)) return;
      // Its answer is of no interest, and neither is what still comes for the request.
      this.#socket.write(frameOf({ type: "cancel", id: ++this.#lastId, own_id: id }));
      reject(cancelled());
    };
    signal?.addEventListener("abort", cancel, { once: true });
    const over = (): void => signal?.removeEventListener("abort", cancel);
    this.#live.set(id, {
      hear: (message) => {
        const isOver = hear(message);
        if (isOver) over();
        return isOver;
      },
      fail: (error) => {
        over();
        reject(error);
      },
    });
    this.#socket.write(frame);
  }

  #hear(message: Message): void {
    const id = message["id"];
    if (message.type === "error" && id === null) throw errorOf(message);
    const listener = typeof id === "number" ? this.#live.get(id) : undefined;
    if (listener === undefined) return;
    if (message.type === "error") {
      this.#live.delete(id as number);
      listener.fail(errorOf(message));
    } else if (listener.hear(message)) {
      this.#live.delete(id as number);
    }
  }

  // Whether this was the end.
  #end(error: Error): boolean {
    if (this.#error !== null) return false;
    this.#error = error;
    const live = [...this.#live.values()];
    this.#live.clear();
    for (const listener of live) listener.fail(error);
    return true;
  }
}

function welcomed(message: Message): string {
  const server = String(message["server"] ?? "");
  if (message.type === "error") {
    if (message["code"] === "unsupported_version") {
      const theirs = /version (\d+)/.exec(String(message["message"]));
      throw wrongVersion(PROTOCOL, theirs ? Number(theirs[1]) : null, "");
    }
    throw errorOf(message);
  }
  if (message.type !== "hello") {
    throw new UmadError("protocol_error", "what listens on the socket is no umad: it did not greet");
  }
  if (message["protocol"] !== PROTOCOL) {
    throw wrongVersion(PROTOCOL, Number(message["protocol"]), server);
  }
  return server;
}

function errorOf(message: Message): UmadError {
  const field = message["field"];
  return new UmadError(
    String(message["code"]),
    String(message["message"]),
    message["retryable"] === true,
    typeof field === "string" ? field : null,
  );
}

function connectError(path: string, error: NodeJS.ErrnoException): UmadError {
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED") return noDaemon(path);
  if (error.code === "EACCES" || error.code === "EPERM") {
    return new UmadError("refused", `${path} belongs to another user`);
  }
  return new UmadError("no_daemon", `${path} cannot be connected to: ${error.message}`, true);
}
