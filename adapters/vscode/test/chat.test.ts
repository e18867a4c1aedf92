// Chats: the editor's messages become turns, and recorded replies of models become parts.

import assert from "node:assert/strict";
import { test } from "node:test";
import samples from "../../../tests/chat/samples.json";
import { ChatProvider, requestOf } from "../src/chat/provider";
import { type Part, readerOf } from "../src/chat/reader";
import { told, turnsOf } from "../src/chat/turns";
import { UmadClient } from "../src/socket/client";
import { MODEL, ScriptedDaemon, usual } from "./daemon";
import * as editor from "./vscode";

interface Sample {
  format: string;
  text: string;
  events: { content?: string; reasoning?: string; calls?: [string, object][] };
  tools?: { name: string }[];
}
const THINK = ["<think>", "</think>"] as const;
const FORMATS: Record<string, { family: string; thinking: readonly [string, string] | null }> = {
  hermes: { family: "hermes", thinking: null },
  "hermes+think": { family: "hermes", thinking: THINK },
  harmony: { family: "harmony", thinking: null },
};

function summary(parts: Part[]): Sample["events"] {
  const text = (kind: string): string => parts.map((part) => (part.kind === kind && "text" in part ? part.text : "")).join("");
  const calls = parts.flatMap((part) => (part.kind === "call" ? [[part.name, part.input] as [string, object]] : []));
  return {
    ...(text("text") ? { content: text("text") } : {}),
    ...(text("thinking") ? { reasoning: text("thinking") } : {}),
    ...(calls.length ? { calls } : {}),
  };
}

for (const [name, sample] of Object.entries(samples as unknown as Record<string, Sample>)) {
  const format = FORMATS[sample.format];
  if (format === undefined) continue;
  test(`a recorded reply, cut at every place: ${name}`, () => {
    const tools = (sample.tools ?? [{ name: "get_weather" }, { name: "book" }, { name: "now" }]).map((tool) => tool.name);
    for (let at = 0; at <= sample.text.length; at++) {
      const reader = readerOf(format, tools);
      const parts = [...reader.push(sample.text.slice(0, at)), ...reader.push(sample.text.slice(at)), ...reader.finish()];
      assert.deepEqual(summary(parts), sample.events, `cut at ${at}`);
    }
  });
}

test("a call of no tool on offer is text", () => {
  const text = 'Look: <tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call> is how.';
  const reader = readerOf(FORMATS["hermes"]!, ["get_weather"]);
  assert.deepEqual(summary([...reader.push(text), ...reader.finish()]), { content: text });
});

test("without tools, marks of calls are text", () => {
  const text = '<tool_call>{"name": "x"}</tool_call>';
  const reader = readerOf(FORMATS["hermes"]!, []);
  assert.deepEqual(summary([...reader.push(text), ...reader.finish()]), { content: text });
});

test("messages of the editor become turns", () => {
  const turns = turnsOf([
    { role: 1, content: [{ value: "What is " }, { value: "the weather?" }] },
    { role: 2, content: [{ value: "I look." }, { callId: "1", name: "get_weather", input: { location: "Paris" } }] },
    { role: 1, content: [{ callId: "1", content: [{ value: "rain" }] }, { value: "And now?" }] },
  ]);
  assert.deepEqual(turns, [
    { role: "user", content: "What is the weather?" },
    { role: "assistant", content: "I look.", tool_calls: [{ name: "get_weather", arguments: '{"location":"Paris"}', id: "1" }] },
    { role: "tool", tool_call_id: "1", content: "rain" },
    { role: "user", content: "And now?" },
  ]);
});

const PICTURE = { mimeType: "image/png", data: new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]) };

test("an image stands between its words, in what a person says and in what a tool brings", () => {
  const turns = turnsOf([
    { role: 1, content: [{ value: "This " }, { value: "one: " }, PICTURE, { value: "Is it red?" }] },
    { role: 2, content: [{ callId: "1", name: "screenshot", input: {} }] },
    { role: 1, content: [{ callId: "1", content: [{ value: "Here:" }, PICTURE] }] },
  ]);
  const image = { type: "image", data: PICTURE.data };
  assert.deepEqual(turns, [
    { role: "user", content: [{ type: "text", text: "This one: " }, image, { type: "text", text: "Is it red?" }] },
    { role: "assistant", content: "", tool_calls: [{ name: "screenshot", arguments: "{}", id: "1" }] },
    { role: "tool", tool_call_id: "1", content: [{ type: "text", text: "Here:" }, image] },
  ]);
});

test("a sound is a sound, and an SVG is the text that it is", () => {
  const sound = { mimeType: "audio/wav", data: new Uint8Array([1]) };
  const drawing = { mimeType: "image/svg+xml", data: new TextEncoder().encode("<svg/>") };
  const [turn] = turnsOf([{ role: 1, content: [sound, drawing] }]);
  assert.deepEqual(turn!.content, [{ type: "audio", data: sound.data }, { type: "text", text: "<svg/>" }]);
});

test("what no model reads is refused in words", () => {
  const file = { mimeType: "application/pdf", data: new Uint8Array() };
  assert.throws(() => turnsOf([{ role: 1, content: [file] }]), /application\/pdf/);
});

test("a model that is told of its tools in words sees what they bring", () => {
  const image = { type: "image" as const, data: PICTURE.data };
  const turns = told(
    [
      { role: "system", content: "Be brief." },
      { role: "user", content: [image] },
      { role: "assistant", content: "I look.", tool_calls: [{ name: "now", arguments: "{}", id: "1" }] },
      { role: "tool", tool_call_id: "1", content: [{ type: "text", text: "Here:" }, image] },
    ],
    [{ name: "now", description: "the time" }],
  );
  assert.match(turns[0]!.content as string, /^Be brief\.\n\n# Tools/);
  assert.deepEqual(turns.slice(1), [
    { role: "user", content: [image] },
    { role: "assistant", content: 'I look.\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>' },
    {
      role: "user",
      content: [{ type: "text", text: "<tool_response>\nHere:" }, image, { type: "text", text: "\n</tool_response>" }],
    },
  ]);
});

for (const mimeType of ["cache_control", "stateful_marker", "thinking", "usage"]) {
  test(`a note of the editor to providers is no content: ${mimeType}`, () => {
    const note = { mimeType, data: new TextEncoder().encode("ephemeral") };
    const turns = turnsOf([
      { role: 1, content: [{ value: "Hi" }, note] },
      { role: 1, content: [{ callId: "1", content: [{ value: "rain" }, note] }] },
    ]);
    assert.deepEqual(turns, [
      { role: "user", content: "Hi" },
      { role: "tool", tool_call_id: "1", content: "rain" },
    ]);
  });
}

test("a model of another family is told of the tools in words", () => {
  const turns = told(
    [
      { role: "user", content: "hello" },
      { role: "assistant", content: "", tool_calls: [{ name: "now", arguments: "{}", id: "1" }] },
      { role: "tool", tool_call_id: "1", content: "noon" },
    ],
    [{ name: "now", description: "the time" }],
  );
  assert.equal(turns[0]!.role, "system");
  assert.match(turns[0]!.content as string, /"name":"now"/);
  assert.deepEqual(turns.slice(1), [
    { role: "user", content: "hello" },
    { role: "assistant", content: '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>' },
    { role: "user", content: "<tool_response>\nnoon\n</tool_response>" },
  ]);
});

test("a family that is read here is shown the tools by its template", () => {
  const tools = [{ name: "now", description: "" }];
  const own = requestOf(MODEL, [{ role: "user", content: "x" }], tools, true);
  assert.deepEqual([own["tools"], own["tool_choice"]], [tools, "required"]);
  const other = requestOf({ ...MODEL, chat_family: "glm" }, [{ role: "user", content: "x" }], tools, false);
  assert.equal(other["tools"], undefined);
  assert.throws(() => requestOf({ ...MODEL, chat_family: "glm" }, [], tools, true), /cannot be forced/);
});

const QUESTION: unknown[] = [{ value: "What time is it?" }];

async function answered(pieces: string[], options: object, models: unknown[] = [{ ...MODEL, thinking: THINK }], content = QUESTION) {
  const daemon = await new ScriptedDaemon(usual(pieces, models)).start();
  const client = new UmadClient("test/1", () => daemon.path, { environ: {}, platform: "linux", uid: process.getuid!(), home: "" });
  const provider = new ChatProvider(client, { info: () => {}, warn: () => {} });
  const parts: unknown[] = [];
  const { token } = editor.tokenSource();
  try {
    const [model] = await provider.provideLanguageModelChatInformation();
    const messages = [{ role: 1, content, name: undefined }];
    const tokens = await provider.provideTokenCount(model!, messages[0]!);
    await provider.provideLanguageModelChatResponse(model!, messages, options as never, { report: (part) => parts.push(part) }, token as never);
    return { parts, asked: await daemon.hears("chat"), model: model!, tokens };
  } finally {
    client.close();
    await daemon.stop();
    daemon.remove();
  }
}

test("a chat turn calls a tool, and its thinking is left out", async () => {
  const pieces = ["<think>\nHm.\n</think>\n\nI loo", 'k.\n<tool_call>\n{"name": "now", ', '"arguments": {"zone": "utc"}}\n</tool_call>'];
  const tool = { name: "now", description: "the time", inputSchema: { type: "object" } };
  const { parts, asked } = await answered(pieces, { tools: [tool], toolMode: 1 });
  assert.deepEqual(parts, [
    new editor.LanguageModelTextPart("I loo"),
    new editor.LanguageModelTextPart("k."),
    new editor.LanguageModelToolCallPart((parts[2] as editor.LanguageModelToolCallPart).callId, "now", { zone: "utc" }),
  ]);
  assert.deepEqual(asked["messages"], [{ role: "user", content: "What time is it?" }]);
  assert.deepEqual(asked["tools"], [{ name: "now", description: "the time", parameters: { type: "object" } }]);
  assert.equal(asked["markup"], true);
});

test("a model that sees says so, and gets the bytes of an image", async () => {
  const models = [{ ...MODEL, media: ["image"] }];
  const { asked, model, tokens } = await answered(["red"], { toolMode: 1 }, models, [PICTURE, { value: "Is it red?" }]);
  assert.equal(model.capabilities.imageInput, true);
  assert.ok(tokens > "Is it red?".length);
  const [turn] = asked["messages"] as { content: { type: string; data?: Uint8Array }[] }[];
  assert.deepEqual(turn!.content.map((piece) => piece.type), ["image", "text"]);
  assert.deepEqual(new Uint8Array(turn!.content[0]!.data!), PICTURE.data);
});

test("a model that does not see says so", async () => {
  const { model } = await answered(["x"], { toolMode: 1 }, [{ ...MODEL, media: ["audio"] }]);
  assert.equal(model.capabilities.imageInput, false);
});

test("a conversation that is too large for a message is refused before it is sent", async () => {
  const large = { mimeType: "image/png", data: new Uint8Array(17 * 2 ** 20) };
  await assert.rejects(answered(["x"], { toolMode: 1 }, [MODEL], [large]), /larger than the 16 MiB/);
});

test("a call after the window was loaded again has another id than those of the conversation before", async () => {
  const ids = new Set<string>();
  for (let window = 0; window < 2; window++) {
    const { parts } = await answered(['<tool_call>{"name": "now", "arguments": {}}</tool_call>'], {
      tools: [{ name: "now", description: "", inputSchema: undefined }],
      toolMode: 1,
    });
    ids.add((parts[0] as editor.LanguageModelToolCallPart).callId);
  }
  assert.equal(ids.size, 2);
});

test("a forced call is forced by the daemon", async () => {
  const tool = { name: "now", description: "", inputSchema: undefined };
  const { asked } = await answered(["x"], { tools: [tool], toolMode: 2 });
  assert.equal(asked["tool_choice"], "required");
  assert.deepEqual(asked["tools"], [{ name: "now", description: "" }]);
});

test("only models that write and are loaded are on offer, with the room they have", async () => {
  const others = [{ name: "embedder", ctx: 512, generates: false }, { name: "loading", state: "starting" }];
  const { model } = await answered(["x"], { toolMode: 1 }, [...others, { ...MODEL, ctx: 8192 }]);
  assert.deepEqual([model.id, model.maxInputTokens, model.maxOutputTokens], ["coder", 6144, 2048]);
});
