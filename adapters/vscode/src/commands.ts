// The commands. They are asked for by a person, so they may show messages.

import * as vscode from "vscode";
import type { GhostWriter } from "./infill/ghost";
import { fimTokensOf } from "./infill/prompt";
import { laneSetting, setWindowLane, socketSetting } from "./settings";
import type { UmadClient } from "./socket/client";
import type { Status } from "./status";

const LANES = ["interactive", "background"];

export function registerCommands(client: UmadClient, writer: GhostWriter, status: Status, log: vscode.LogOutputChannel): vscode.Disposable[] {
  const configuration = (): vscode.WorkspaceConfiguration => vscode.workspace.getConfiguration("umad");

  async function chooseModel(): Promise<void> {
    const models = (await client.models()).filter((one) => one.ctx && one.generates !== false);
    const rows = [
      { label: "$(sparkle) automatic", description: "the first that can fill in the middle", detail: "", name: "" },
      ...models.map((one) => ({
        label: one.name,
        description: one.description ?? "",
        detail: fimTokensOf(one) ? "" : "no fill-in-the-middle tokens: sees only what is before the cursor",
        name: one.name,
      })),
    ];
    const chosen = await vscode.window.showQuickPick(rows, { title: "umad: model of completions" });
    if (!chosen) return;
    await configuration().update("completion.model", chosen.name, target());
    writer.forget();
  }

  async function chooseLane(): Promise<void> {
    const named = await vscode.window.showQuickPick([...LANES, "another…"], {
      title: `umad: lane of this window (now ${laneSetting()})`,
    });
    const lane = named === "another…" ? await vscode.window.showInputBox({ title: "umad: name of the lane" }) : named;
    if (lane) setWindowLane(lane.trim());
    status.refresh();
  }

  async function toggleCompletion(): Promise<void> {
    const isOn = configuration().get("completion.enabled", true);
    await configuration().update("completion.enabled", !isOn, vscode.ConfigurationTarget.Global);
  }

  function showTop(): void {
    const socket = socketSetting();
    const terminal = vscode.window.createTerminal({ name: "umad top", ...(socket ? { env: { UMAD_SOCKET: socket } } : {}) });
    terminal.show();
    terminal.sendText("umad top");
  }

  async function showStatus(): Promise<void> {
    const { state } = client;
    if (state.kind === "absent") {
      const again = "Connect Again";
      if ((await vscode.window.showWarningMessage(`umad: ${state.error.message}`, again, "Show Log")) === again) client.reconnect();
      return;
    }
    const rows = [
      { label: "$(list-selection) Choose completion model", command: "umad.chooseModel" },
      { label: "$(split-horizontal) Choose lane of this window", command: "umad.chooseLane" },
      { label: "$(circle-slash) Switch completions on or off", command: "umad.toggleCompletion" },
      { label: "$(pulse) Show umad top", command: "umad.showTop" },
      { label: "$(output) Show log", command: "umad.showLog" },
    ];
    const chosen = await vscode.window.showQuickPick(rows, { title: "umad" });
    if (chosen) await vscode.commands.executeCommand(chosen.command);
  }

  // A failure is told: a person has asked for something.
  const told = (work: () => Promise<void> | void) => async (): Promise<void> => {
    try {
      await work();
    } catch (error) {
      void vscode.window.showErrorMessage(`umad: ${(error as Error).message}`);
    }
  };
  // A workspace that is not trusted does not choose the model: what is written there would not count.
  const target = (): vscode.ConfigurationTarget =>
    vscode.workspace.workspaceFolders?.length && vscode.workspace.isTrusted ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;

  return [
    vscode.commands.registerCommand("umad.chooseModel", told(chooseModel)),
    vscode.commands.registerCommand("umad.chooseLane", told(chooseLane)),
    vscode.commands.registerCommand("umad.toggleCompletion", told(toggleCompletion)),
    vscode.commands.registerCommand("umad.showLog", () => log.show()),
    vscode.commands.registerCommand("umad.showTop", told(showTop)),
    vscode.commands.registerCommand("umad.reconnect", () => client.reconnect()),
    vscode.commands.registerCommand("umad.showStatus", told(showStatus)),
  ];
}
