// Wires the extension together. It starts with the window, connects when the daemon is there, and asks
// nobody for anything where it is not.

import { homedir } from "node:os";
import * as vscode from "vscode";
import { ChatProvider } from "./chat/provider";
import { registerCommands } from "./commands";
import { GhostWriter } from "./infill/ghost";
import { InlineProvider } from "./inline";
import { laneSetting, socketSetting } from "./settings";
import { UmadClient } from "./socket/client";
import { Status } from "./status";

export function activate(context: vscode.ExtensionContext): void {
  const { version } = context.extension.packageJSON as { version: string };
  const log = vscode.window.createOutputChannel("umad", { log: true });
  const status = new Status(laneSetting);
  const client = new UmadClient(`vscode/${version}`, socketSetting, {
    environ: process.env,
    platform: process.platform,
    uid: process.getuid?.() ?? 0,
    home: homedir(),
  });
  const writer = new GhostWriter(client);
  const chat = new ChatProvider(client, log);
  client.onState = (state) => {
    status.state = state;
    // Another daemon may have other models: what an earlier one said does not hold.
    writer.forget();
    if (state.kind === "ready") chat.changed();
    if (state.kind === "absent") log.info(state.error.message);
    else log.info(state.kind === "ready" ? `connected to ${state.server}` : state.kind);
  };
  context.subscriptions.push(
    log,
    status,
    chat,
    { dispose: () => client.close() },
    vscode.languages.registerInlineCompletionItemProvider(
      { pattern: "**" },
      new InlineProvider(writer, (last) => (status.last = last), log),
    ),
    vscode.lm.registerLanguageModelChatProvider("umad", chat),
    ...registerCommands(client, writer, status, log),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("umad.socket")) client.reconnect();
      if (event.affectsConfiguration("umad")) {
        writer.forget();
        status.refresh();
      }
    }),
  );
  void client.start();
}

export function deactivate(): void {
  // What has to be closed is among the context's subscriptions.
}
