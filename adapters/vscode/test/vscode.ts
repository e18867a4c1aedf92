// A stand-in for the editor in tests: the few classes and values that the code uses.

export class Position {
  constructor(
    readonly line: number,
    readonly character: number,
  ) {}
}
export class Range {
  constructor(
    readonly start: Position,
    readonly end: Position,
  ) {}
}
export class InlineCompletionItem {
  constructor(
    readonly insertText: string,
    readonly range?: Range,
  ) {}
}
export class LanguageModelTextPart {
  constructor(readonly value: string) {}
}
export class LanguageModelToolCallPart {
  constructor(
    readonly callId: string,
    readonly name: string,
    readonly input: object,
  ) {}
}
export class LanguageModelError extends Error {
  static NotFound(message: string): LanguageModelError {
    return new LanguageModelError(message);
  }
}
export class CancellationError extends Error {}
export class ThemeColor {
  constructor(readonly id: string) {}
}
export class EventEmitter<T> {
  readonly #listeners: ((value: T) => void)[] = [];
  readonly event = (listener: (value: T) => void): void => void this.#listeners.push(listener);
  fire(value: T): void {
    this.#listeners.forEach((listener) => listener(value));
  }
  dispose(): void {
    this.#listeners.length = 0;
  }
}
export const InlineCompletionTriggerKind = { Invoke: 0, Automatic: 1 };
export const LanguageModelChatToolMode = { Auto: 1, Required: 2 };
export const StatusBarAlignment = { Left: 1, Right: 2 };
export const ConfigurationTarget = { Global: 1, Workspace: 2 };

// What tests set.
export const settings: Record<string, unknown> = {};
export const messages: string[] = [];
// What the code has written into the settings.
export const updated: { name: string; value: unknown; target: number }[] = [];

export const workspace = {
  isTrusted: true,
  workspaceFolders: [{ name: "project" }],
  getConfiguration: (section: string) => ({
    get: (name: string, otherwise: unknown) => settings[`${section}.${name}`] ?? otherwise,
    update: async (name: string, value: unknown, target: number) => void updated.push({ name: `${section}.${name}`, value, target }),
  }),
  getWorkspaceFolder: () => ({ name: "project" }),
  asRelativePath: (uri: { path: string }) => uri.path,
};
const told = (message: string): void => void messages.push(message);
// The status bar's item that was made last.
export const statusItem = { text: "", tooltip: "", backgroundColor: undefined as unknown, show: () => {}, dispose: () => {} };
type Row = { name?: string };
export const window = {
  createStatusBarItem: () => statusItem,
  showErrorMessage: told,
  showWarningMessage: told,
  showInformationMessage: told,
  // The row that a person picks.
  picks: (_: Row[]): Row | undefined => undefined,
  showQuickPick: async (rows: Row[]) => window.picks(rows),
};

const registered = new Map<string, () => Promise<void> | void>();
export const commands = {
  registerCommand: (name: string, work: () => Promise<void> | void) => {
    registered.set(name, work);
    return { dispose: () => registered.delete(name) };
  },
  // As if it were chosen in the palette.
  run: async (name: string): Promise<void> => registered.get(name)!(),
};

// A document of these lines.
export function documentOf(text: string): unknown {
  const lines = text.split("\n");
  return {
    uri: { path: "f.py" },
    languageId: "python",
    isUntitled: false,
    lineCount: lines.length,
    lineAt: (at: number) => ({ text: lines[at] }),
  };
}

export function tokenSource() {
  const listeners: (() => void)[] = [];
  const token = {
    isCancellationRequested: false,
    onCancellationRequested: (listener: () => void) => {
      listeners.push(listener);
      return { dispose: () => {} };
    },
  };
  const cancel = (): void => {
    token.isCancellationRequested = true;
    listeners.forEach((listener) => listener());
  };
  return { token, cancel };
}
