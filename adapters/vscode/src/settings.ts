// The settings, read anew at each use: they may change at any time. Their names are the YAML's where
// the daemon has the same.

import * as vscode from "vscode";
import type { Lines } from "./infill/manner";

export interface CompletionSettings {
  enabled: boolean;
  model: string;
  lines: Lines;
  debounceMs: number;
}

const read = <T>(name: string, otherwise: T, scope?: vscode.ConfigurationScope): T =>
  vscode.workspace.getConfiguration("umad", scope).get<T>(name, otherwise);

export const socketSetting = (): string => read("socket", "").trim();

export const maxTokens = (): number => read("max_tokens", 0);

export function completionSettings(document: vscode.TextDocument): CompletionSettings {
  const scope = { uri: document.uri, languageId: document.languageId };
  return {
    enabled: read("completion.enabled", true, scope),
    model: read("completion.model", "").trim(),
    lines: read<Lines>("completion.lines", "auto", scope),
    debounceMs: Math.max(0, read("completion.debounce_ms", 60)),
  };
}

// The lane chosen for this window alone counts before the setting.
let windowLane: string | null = null;
export const setWindowLane = (lane: string | null): void => void (windowLane = lane);
export const laneSetting = (): string => windowLane ?? read("lane", "interactive").trim();
