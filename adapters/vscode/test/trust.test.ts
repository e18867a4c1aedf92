// A workspace that is not trusted chooses neither where text goes nor what answers.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import manifest from "../package.json";
import { registerCommands } from "../src/commands";
import * as editor from "./vscode";

const { restrictedConfigurations: restricted, supported } = manifest.capabilities.untrustedWorkspaces;
const settings: Record<string, { scope: string }> = manifest.contributes.configuration.properties;
// Settings that say who gets the text, and in whose turn. A workspace may have the others.
const CHOOSING = ["umad.socket", "umad.lane", "umad.completion.model"];

beforeEach(() => {
  for (const name of Object.keys(editor.settings)) delete editor.settings[name];
  editor.updated.length = 0;
});

test("the editor is told which settings an untrusted workspace does not set", () => {
  assert.equal(supported, "limited");
  assert.deepEqual([...restricted].sort(), [...CHOOSING].sort());
  for (const name of restricted) assert.ok(name in settings, name);
  // Of a remote window, the machine's settings alone name a socket of that machine.
  assert.equal(settings["umad.socket"]!.scope, "machine");
});

for (const isTrusted of [true, false]) {
  test(`a model that is chosen ${isTrusted ? "is the workspace's" : "without trust is the user's"}`, async () => {
    editor.workspace.isTrusted = isTrusted;
    editor.window.picks = (rows) => rows.find((row) => row.name === "coder");
    const client = { models: async () => [{ name: "coder", ctx: 4096 }] };
    registerCommands(client as never, { forget: () => {} } as never, {} as never, {} as never);

    await editor.commands.run("umad.chooseModel");

    const target = isTrusted ? editor.ConfigurationTarget.Workspace : editor.ConfigurationTarget.Global;
    assert.deepEqual(editor.updated, [{ name: "umad.completion.model", value: "coder", target }]);
  });
}
