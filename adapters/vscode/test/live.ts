// Not a test: asks a real daemon what the extension asks, and prints what came of it as JSON.
// tests/adapters/test_vscode.py runs it: node build/test/live.js SOCKET [IMAGE]

import { readFileSync } from "node:fs";
import { cutAround } from "../src/infill/cut";
import { GhostWriter } from "../src/infill/ghost";
import { mannerOf } from "../src/infill/manner";
import { ChatProvider } from "../src/chat/provider";
import { UmadClient } from "../src/socket/client";
import * as editor from "./vscode";

const LINES = ["def read_lines(path):", "    with open(path) as f:", "        ", "    return lines", ""];

async function main(socket: string, image: string | undefined): Promise<void> {
  const client = new UmadClient("live/1", () => socket, { environ: {}, platform: process.platform, uid: process.getuid!(), home: "" });
  const cut = cutAround((line) => LINES[line]!, LINES.length, 2, 8);
  const asked = { cut, manner: mannerOf(cut)!, name: "f.py", project: "p", model: "", lane: "interactive" };
  const ghost = await new GhostWriter(client).write(asked, new AbortController().signal);

  const provider = new ChatProvider(client, { info: () => {}, warn: () => {} });
  const [model] = await provider.provideLanguageModelChatInformation();
  const said: unknown[] = [];
  const tool = { name: "now", description: "the time", inputSchema: { type: "object", properties: {}, additionalProperties: false } };
  const messages = [{ role: 1, content: [{ value: "What time is it?" }], name: undefined }];
  editor.settings["umad.max_tokens"] = 64;
  const { token } = editor.tokenSource();
  const forced = { tools: [tool], toolMode: editor.LanguageModelChatToolMode.Required };
  await provider.provideLanguageModelChatResponse(model!, messages, forced as never, { report: (part) => said.push(part) }, token as never);
  const seen = image === undefined ? null : await look(provider, model!, readFileSync(image));
  const tokens = await provider.provideTokenCount(model!, "hello there");

  const aborter = new AbortController();
  const endless = client.generate({ type: "generate", prompt: "x", max_tokens: 2000, ignore_eos: true }, () => aborter.abort(), aborter.signal);
  const cancelled = await endless.then(() => "done", (error) => error.code);
  console.log(JSON.stringify({ ghost, model, said, seen, tokens, cancelled, state: client.state }));
  client.close();
}

// What is said of a PNG file; of one that is broken, the error.
async function look(provider: ChatProvider, model: Parameters<ChatProvider["provideTokenCount"]>[0], file: Uint8Array): Promise<unknown[]> {
  const { token } = editor.tokenSource();
  const said: unknown[] = [];
  for (const data of [file, file.subarray(0, file.length / 2)]) {
    const content = [{ mimeType: "image/png", data }, { value: "What is it?" }];
    const report = { report: (part: { value?: string }) => said.push(part.value) };
    await provider
      .provideLanguageModelChatResponse(model, [{ role: 1, content, name: undefined }], { toolMode: 1 } as never, report as never, token as never)
      .catch((error) => said.push({ code: error.code, field: error.field }));
  }
  return said;
}

void main(process.argv[2]!, process.argv[3]);
