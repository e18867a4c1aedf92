// Frames of the socket: a length of 4 bytes, big-endian, and a body of msgpack. No socket here.

import { decode, encode } from "@msgpack/msgpack";
import { UmadError } from "./errors";

export type Message = { type: string; [field: string]: unknown };

// Longest message that the daemon takes, and that is taken from it, as in the Python client.
export const MAX_FRAME_BYTES = 16 * 2 ** 20;

export function frameOf(message: Message): Buffer {
  const body = encode(wellFormed(message), { ignoreUndefined: true });
  // The daemon would end the connection, and all that runs on it.
  if (body.length > MAX_FRAME_BYTES) {
    const why = "the conversation with its images is larger than the 16 MiB that one message has; begin a new one";
    throw new UmadError("frame_too_large", why);
  }
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32BE(body.length);
  frame.set(body, 4);
  return frame;
}

// Half of a surrogate pair is a text in JavaScript and none in UTF-8: the daemon would end the connection,
// and everything that runs on it. Lists of numbers and bytes, which may be long, are left as they are.
function wellFormed(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(wellFormed);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, wellFormed(one)]));
}

// Cuts what arrives into messages, however the bytes are divided.
export class FrameReader {
  #pieces: Buffer[] = [];
  #bytes = 0;
  #needed = 4;

  // The messages that `data` completes. Throws where the bytes are not the protocol.
  feed(data: Buffer): Message[] {
    this.#pieces.push(data);
    this.#bytes += data.length;
    const messages: Message[] = [];
    // Pieces are joined only once a frame is whole: a long one may arrive in many.
    while (this.#bytes >= this.#needed) {
      const held = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
      const length = held.readUInt32BE();
      if (length > MAX_FRAME_BYTES) throw violation(`a frame of ${length} bytes`);
      this.#needed = 4 + length;
      if (held.length < this.#needed) {
        this.#pieces = [held];
        break;
      }
      messages.push(messageOf(held.subarray(4, this.#needed)));
      const rest = held.subarray(this.#needed);
      this.#pieces = rest.length ? [rest] : [];
      this.#bytes = rest.length;
      this.#needed = 4;
    }
    return messages;
  }
}

function messageOf(body: Buffer): Message {
  let value: unknown;
  try {
    value = decode(body);
  } catch {
    throw violation("a body that is no msgpack");
  }
  if (typeof value !== "object" || value === null || typeof (value as Message).type !== "string") {
    throw violation("a body without a type");
  }
  return value as Message;
}

const violation = (what: string): UmadError =>
  new UmadError("protocol_error", `what listens on the socket is no umad: it sent ${what}`);
