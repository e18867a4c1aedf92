// From the editor's messages to the turns of a chat on the socket.

import { UmadError } from "../socket/errors";

export interface ToolCall {
  name: string;
  // JSON text.
  arguments: string;
  id: string;
}

export interface Turn {
  role: "system" | "user" | "assistant" | "tool";
  content: string;
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
  let text = "";
  for (const part of parts) {
    if (part.callId !== undefined && part.name !== undefined) {
      calls.push({ name: part.name, arguments: JSON.stringify(part.input ?? {}), id: part.callId });
    } else if (part.callId !== undefined) {
      turns.push({ role: "tool", tool_call_id: part.callId, content: textOf(part.content ?? []) });
    } else text += textOf([part]);
  }
  if (role === ASSISTANT) {
    return [{ role: "assistant", content: text, ...(calls.length ? { tool_calls: calls } : {}) }];
  }
  // Results come before what the person says to them.
  if (text || !turns.length) turns.push({ role: role === USER ? "user" : "system", content: text });
  return turns;
}

function textOf(parts: readonly unknown[]): string {
  return parts
    .map((part) => {
      const { value, mimeType, data } = part as EditorPart;
      if (typeof part === "string") return part;
      if (typeof value === "string") return value;
      if (mimeType === undefined || data === undefined) return value === undefined ? "" : JSON.stringify(value);
      // Notes of the editor to providers (`cache_control`, `stateful_marker`, `thinking`, `usage`): no type of content.
      if (!mimeType.includes("/")) return "";
      if (/^(text\/|application\/(json|xml))/.test(mimeType)) return new TextDecoder().decode(data);
      throw new UmadError("unsupported", `this model reads text; a part of type ${mimeType} was given`);
    })
    .join("");
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
  const system: Turn = { role: "system", content: isSystem ? `${first.content}\n\n${words}` : words };
  return [system, ...(isSystem ? rest : turns).map(inWords)];
}

function inWords(turn: Turn): Turn {
  if (turn.role === "tool") return { role: "user", content: `<tool_response>\n${turn.content}\n</tool_response>` };
  const calls = (turn.tool_calls ?? []).map(
    (call) => `<tool_call>\n{"name": ${JSON.stringify(call.name)}, "arguments": ${call.arguments}}\n</tool_call>`,
  );
  return { role: turn.role, content: [turn.content, ...calls].filter(Boolean).join("\n") };
}
