// The models of the daemon for the editor's chat, with calls of tools. The models' thinking is left out
// where the editor has no part for it.

import { randomUUID } from "node:crypto";
import * as vscode from "vscode";
import { APP } from "../infill/ghost";
import type { Log } from "../inline";
import { laneSetting, maxTokens } from "../settings";
import type { Model, UmadClient } from "../socket/client";
import { UmadError } from "../socket/errors";
import type { Message } from "../socket/frames";
import { readerOf, type Part } from "./reader";
import { filesIn, readsOwnCalls, textOf, told, turnsOf, type Tool } from "./turns";

// So many tokens of a small context are an answer's; at most a quarter of it.
const ANSWER_TOKENS = 4096;
// So many of an image or a sound are counted: the editor wants a number before it sends anything, and
// the models that see take 256 to 1,200 for what an editor shows.
const FILE_TOKENS = 1024;

type Information = vscode.LanguageModelChatInformation;

export class ChatProvider implements vscode.LanguageModelChatProvider, vscode.Disposable {
  readonly #changed = new vscode.EventEmitter<void>();
  readonly onDidChangeLanguageModelChatInformation = this.#changed.event;

  constructor(
    private readonly client: Pick<UmadClient, "models" | "tokenize" | "generate">,
    private readonly log: Log,
  ) {}

  changed(): void {
    this.#changed.fire();
  }

  dispose(): void {
    this.#changed.dispose();
  }

  async provideLanguageModelChatInformation(): Promise<Information[]> {
    try {
      return (await this.client.models()).filter((one) => one.ctx && one.generates !== false).map(informationOf);
    } catch (error) {
      this.log.info(`models: ${(error as Error).message}`);
      return [];
    }
  }

  async provideLanguageModelChatResponse(
    model: Information,
    messages: readonly vscode.LanguageModelChatRequestMessage[],
    options: vscode.ProvideLanguageModelChatResponseOptions,
    progress: vscode.Progress<vscode.LanguageModelResponsePart>,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const aborter = new AbortController();
    const subscription = token.onCancellationRequested(() => aborter.abort());
    try {
      const row = (await this.client.models(aborter.signal)).find((one) => one.name === model.id);
      if (!row) throw vscode.LanguageModelError.NotFound(`the model ${model.id} is not loaded any more`);
      const tools = toolsOf(options);
      const isForced = options.toolMode === vscode.LanguageModelChatToolMode.Required;
      const reader = readerOf({ family: row.chat_family ?? "plain", thinking: row.thinking ?? null }, tools.map((tool) => tool.name));
      const say = (parts: Part[]): void => parts.forEach((part) => this.#say(part, progress));
      const fields = requestOf(row, turnsOf(messages), tools, isForced);
      await this.client.generate(fields, (text) => say(reader.push(text)), aborter.signal);
      say(reader.finish());
    } catch (error) {
      if ((error as UmadError).code === "cancelled") throw new vscode.CancellationError();
      throw error;
    } finally {
      subscription.dispose();
    }
  }

  async provideTokenCount(model: Information, text: string | vscode.LanguageModelChatRequestMessage): Promise<number> {
    const turns = typeof text === "string" ? [] : turnsOf([text]);
    const said = turns.map((turn) => textOf(turn.content) + JSON.stringify(turn.tool_calls ?? ""));
    const words = typeof text === "string" ? text : said.join("\n");
    const files = turns.reduce((sum, turn) => sum + filesIn(turn.content), 0);
    const spoken = words ? (await this.client.tokenize(words, model.id)).length : 0;
    return spoken + files * FILE_TOKENS;
  }

  #say(part: Part, progress: vscode.Progress<vscode.LanguageModelResponsePart>): void {
    if (part.kind === "text") progress.report(new vscode.LanguageModelTextPart(part.text));
    if (part.kind === "call") {
      progress.report(new vscode.LanguageModelToolCallPart(`umad_${randomUUID()}`, part.name, part.input));
    }
  }
}

function informationOf(row: Model): Information {
  const answer = Math.min(ANSWER_TOKENS, Math.floor(row.ctx! / 4));
  return {
    id: row.name,
    name: row.name,
    family: row.architecture || "umad",
    version: "1",
    detail: "umad",
    tooltip: row.description ?? row.name,
    maxInputTokens: row.ctx! - answer,
    maxOutputTokens: answer,
    capabilities: { toolCalling: true, imageInput: row.media?.includes("image") ?? false },
  };
}

const toolsOf = (options: vscode.ProvideLanguageModelChatResponseOptions): Tool[] =>
  (options.tools ?? []).map((tool) => ({ name: tool.name, description: tool.description, parameters: tool.inputSchema }));

export function requestOf(row: Model, turns: ReturnType<typeof turnsOf>, tools: Tool[], isForced: boolean): Message {
  const isNative = !tools.length || readsOwnCalls(row.chat_family ?? "plain");
  if (isForced && !isNative) {
    throw new UmadError("unsupported", `a call cannot be forced with ${row.name}: its form of calls is not read here`);
  }
  return {
    type: "chat",
    messages: isNative ? turns : told(turns, tools),
    tools: isNative && tools.length ? tools : undefined,
    tool_choice: isForced ? "required" : undefined,
    model: row.name,
    lane: laneSetting() || undefined,
    app: APP,
    markup: true,
    max_tokens: maxTokens() || undefined,
    fit: true,
  };
}
