// From the editor's messages to the turns of a chat on the socket.

import { UmadError } from "../socket/errors";

export interface ToolCall {
  name: string;
  // JSON text.
  arguments: string;
  id: string;
}

// A piece of a turn as the socket takes it. `data` is an image's or a sound's file.
export type Piece = { type: "text"; text: string } | { type: "image" | "audio"; data: Uint8Array };

export interface Turn {
  role: "system" | "user" | "assistant" | "tool";
  // Pieces only where one is no text.
  content: string | Piece[];
  tool_calls?: ToolCall[];
  tool_call_id?: string;
}

export interface Tool {
  name: string;
  description: string;
  parameters?: object | undefined;
}

// The editor's parts, by what they have: its classes gain members from version to version.
interface EditorPart {
  value?: unknown;
  callId?: string;
  name?: string;
  input?: object;
  content?: readonly unknown[];
  mimeType?: string;
  data?: Uint8Array;
}

// Roles of `LanguageModelChatMessageRole`; 3 is the system's where an editor has it.
const USER = 1;
const ASSISTANT = 2;

// Families whose form of calls `reader.ts` reads: their template is shown the tools.
const NATIVE = new Set(["hermes", "plain", "ernie", "harmony"]);

export const readsOwnCalls = (family: string): boolean => NATIVE.has(family);

export function turnsOf(messages: readonly { role: number; content: readonly unknown[] }[]): Turn[] {
  return messages.flatMap(({ role, content }) => turnsOfMessage(role, content as EditorPart[]));
}

function turnsOfMessage(role: number, parts: readonly EditorPart[]): Turn[] {
  const turns: Turn[] = [];
  const calls: ToolCall[] = [];
  const said: EditorPart[] = [];
  for (const part of parts) {
    if (part.callId !== undefined && part.name !== undefined) {
      calls.push({ name: part.name, arguments: JSON.stringify(part.input ?? {}), id: part.callId });
    } else if (part.callId !== undefined) {
      turns.push({ role: "tool", tool_call_id: part.callId, content: contentOf(part.content ?? []) });
    } else said.push(part);
  }
  const content = contentOf(said);
  if (role === ASSISTANT) {
    return [{ role: "assistant", content, ...(calls.length ? { tool_calls: calls } : {}) }];
  }
  // Results come before what the person says to them.
  if (content || !turns.length) turns.push({ role: role === USER ? "user" : "system", content });
  return turns;
}

// Whether the model sees or hears is the daemon's to say: an image that is asked about now is refused
// by its place, and in a conversation that goes on with another model, words stand for it.
function contentOf(parts: readonly unknown[]): string | Piece[] {
  const pieces: Piece[] = [];
  for (const one of parts) {
    const piece = pieceOf(one);
    const last = pieces.at(-1);
    if (piece.type === "text" && last?.type === "text") last.text += piece.text;
    else if (piece.type !== "text" || piece.text) pieces.push(piece);
  }
  return pieces.some((piece) => piece.type !== "text") ? pieces : textOf(pieces);
}

function pieceOf(part: unknown): Piece {
  const { value, mimeType, data, type } = part as EditorPart & { type?: Piece["type"] };
  if (type === "image" || type === "audio") return part as Piece;
  const text = (words: string): Piece => ({ type: "text", text: words });
  if (typeof part === "string") return text(part);
  if (typeof value === "string") return text(value);
  if (mimeType === undefined || data === undefined) return text(value === undefined ? "" : JSON.stringify(value));
  // Notes of the editor to providers (`cache_control`, `stateful_marker`, `thinking`, `usage`): no type of content.
  if (!mimeType.includes("/")) return text("");
  // An SVG is a text, and no decoder reads it.
  if (/^(text\/|application\/(json|xml)|image\/svg)/.test(mimeType)) return text(new TextDecoder().decode(data));
  if (mimeType.startsWith("image/")) return { type: "image", data };
  if (mimeType.startsWith("audio/")) return { type: "audio", data };
  throw new UmadError("unsupported", `text, images and sounds are read; a part of type ${mimeType} was given`);
}

// The words of a content.
export const textOf = (content: string | Piece[]): string =>
  typeof content === "string" ? content : content.map((piece) => (piece.type === "text" ? piece.text : "")).join("");

// How many of a content's pieces are no text.
export const filesIn = (content: string | Piece[]): number =>
  typeof content === "string" ? 0 : content.filter((piece) => piece.type !== "text").length;

// A content with words before and behind it.
function framed(before: string, content: string | Piece[], behind: string): string | Piece[] {
  if (typeof content === "string") return before + content + behind;
  return contentOf([before, ...content.map((piece) => (piece.type === "text" ? piece.text : piece)), behind]);
}

// The same turns for a model whose own form of calls is not read here: everything is said in text, in
// the words of Hermes' templates, which models of all families follow.
export function told(turns: readonly Turn[], tools: readonly Tool[]): Turn[] {
  const signatures = tools.map((tool) => JSON.stringify({ type: "function", function: tool })).join("\n");
  const words = `# Tools

You may call one or more functions to assist with the user query. These are their signatures:
<tools>
${signatures}
</tools>

For each function call, return a JSON object with its name and arguments within tool_call tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;
  const [first, ...rest] = turns;
  const isSystem = first?.role === "system";
  const system: Turn = { role: "system", content: isSystem ? framed("", first.content, `\n\n${words}`) : words };
  return [system, ...(isSystem ? rest : turns).map(inWords)];
}

function inWords(turn: Turn): Turn {
  if (turn.role === "tool") return { role: "user", content: framed("<tool_response>\n", turn.content, "\n</tool_response>") };
  const calls = (turn.tool_calls ?? []).map(
    (call) => `<tool_call>\n{"name": ${JSON.stringify(call.name)}, "arguments": ${call.arguments}}\n</tool_call>`,
  );
  const isSilent = !turn.content;
  return { role: turn.role, content: framed("", turn.content, (calls.length && !isSilent ? "\n" : "") + calls.join("\n")) };
}
