// The status bar's item: what the daemon is and what the last completion met. It is computed from the
// present state alone, so it cannot keep an old error.

import * as vscode from "vscode";
import type { State } from "./socket/client";

// How the last completion ended; null where none has since the daemon was found.
export type Last = { kind: "asking" } | { kind: "shown"; model: string; isBlind: boolean } | { kind: "failed"; message: string };

export interface Shown {
  text: string;
  tooltip: string;
  isWarning: boolean;
}

export function shownOf(state: State, last: Last | null, lane: string): Shown {
  if (state.kind === "connecting") return { text: "$(sync~spin) umad", tooltip: "umad: connecting", isWarning: false };
  if (state.kind === "absent") {
    return { text: "$(circle-slash) umad", tooltip: `umad: ${state.error.message}`, isWarning: true };
  }
  const where = `${state.server}, lane ${lane}`;
  if (last?.kind === "failed") return { text: "$(warning) umad", tooltip: `umad: ${last.message}\n${where}`, isWarning: true };
  if (last?.kind === "asking") return { text: "$(loading~spin) umad", tooltip: `umad: asking\n${where}`, isWarning: false };
  if (last?.kind === "shown") {
    const blind = last.isBlind ? "\nIt has no fill-in-the-middle tokens, and sees only what is before the cursor." : "";
    return { text: "$(sparkle) umad", tooltip: `umad: completions by ${last.model}${blind}\n${where}`, isWarning: false };
  }
  return { text: "$(sparkle) umad", tooltip: `umad: ${where}`, isWarning: false };
}

export class Status implements vscode.Disposable {
  readonly #item = vscode.window.createStatusBarItem("umad.status", vscode.StatusBarAlignment.Right, 100);
  #state: State = { kind: "connecting" };
  #last: Last | null = null;

  constructor(private readonly lane: () => string) {
    this.#item.name = "umad";
    this.#item.command = "umad.showStatus";
    this.#show();
    this.#item.show();
  }

  set state(state: State) {
    // What an earlier daemon answered, or that there was none, says nothing about the next one.
    this.#last = null;
    this.#state = state;
    this.#show();
  }

  set last(last: Last | null) {
    this.#last = last;
    this.#show();
  }

  refresh(): void {
    this.#show();
  }

  dispose(): void {
    this.#item.dispose();
  }

  #show(): void {
    const shown = shownOf(this.#state, this.#last, this.lane());
    this.#item.text = shown.text;
    this.#item.tooltip = shown.tooltip;
    this.#item.backgroundColor = shown.isWarning ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
  }
}
