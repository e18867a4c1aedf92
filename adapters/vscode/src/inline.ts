// Grey text behind the cursor. A key cancels the request of the key before through the socket. Nothing
// here opens a window or a message: an error is a line of the log and a sign in the status bar.

import * as vscode from "vscode";
import { cutAround } from "./infill/cut";
import type { GhostWriter } from "./infill/ghost";
import { mannerOf } from "./infill/manner";
import type { Last } from "./status";
import { completionSettings, laneSetting } from "./settings";
import type { UmadError } from "./socket/errors";

export interface Log {
  info(message: string): void;
  warn(message: string): void;
}

export class InlineProvider implements vscode.InlineCompletionItemProvider {
  // The number of the last question: the end of an earlier one changes no status.
  #asked = 0;
  // An error is a line of the log once, however many keys meet it; "" after an answer.
  #lastLogged = "";

  constructor(
    private readonly writer: GhostWriter,
    private readonly tell: (last: Last | null) => void,
    private readonly log: Log,
  ) {}

  async provideInlineCompletionItems(
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[]> {
    const settings = completionSettings(document);
    const isAutomatic = context.triggerKind === vscode.InlineCompletionTriggerKind.Automatic;
    // The list of completions shows a word: grey text must go on from it, which the next key does.
    if (!settings.enabled || context.selectedCompletionInfo) return [];
    const cut = cutAround((line) => document.lineAt(line).text, document.lineCount, position.line, position.character);
    const manner = mannerOf(cut, settings.lines, isAutomatic);
    if (manner === null) return [];
    const asked = {
      cut,
      manner,
      name: nameOf(document),
      project: vscode.workspace.getWorkspaceFolder(document.uri)?.name ?? "",
      model: settings.model,
      lane: laneSetting(),
    };
    const known = this.writer.remembered(asked);
    if (known !== null) return itemsOf(known, position);
    const aborter = new AbortController();
    const subscription = token.onCancellationRequested(() => aborter.abort());
    const number = ++this.#asked;
    const tell = (last: Last | null): void => {
      if (number === this.#asked) this.tell(last);
    };
    try {
      if (token.isCancellationRequested || (isAutomatic && !(await quiet(settings.debounceMs, aborter.signal)))) {
        tell(null); // an earlier question may have said that it is being asked
        return [];
      }
      tell({ kind: "asking" });
      const ghost = await this.writer.write(asked, aborter.signal);
      this.#lastLogged = "";
      tell({ kind: "shown", model: ghost.model, isBlind: ghost.isBlind });
      return itemsOf(ghost.text, position);
    } catch (error) {
      const { code, message } = error as UmadError;
      tell(aborter.signal.aborted ? null : { kind: "failed", message });
      // A daemon that is not there is told once, by the connection's state.
      const line = `completion: ${code ?? "internal"}: ${message}`;
      if (code !== "cancelled" && code !== "no_daemon" && line !== this.#lastLogged) {
        this.#lastLogged = line;
        this.log.warn(line);
      }
      return [];
    } finally {
      subscription.dispose();
    }
  }
}

function itemsOf(text: string, position: vscode.Position): vscode.InlineCompletionItem[] {
  return text ? [new vscode.InlineCompletionItem(text, new vscode.Range(position, position))] : [];
}

// The name within the project; of a file without one, its language.
function nameOf(document: vscode.TextDocument): string {
  return document.isUntitled ? `untitled (${document.languageId})` : vscode.workspace.asRelativePath(document.uri, false);
}

// Waits; false where another key came meanwhile.
function quiet(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false);
    const timer = setTimeout(() => resolve(true), ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve(false)), { once: true });
  });
}
