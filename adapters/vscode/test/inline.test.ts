// Grey text in the editor: what is asked, what is shown, and that nothing ever opens a message.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { GhostWriter, modelOf } from "../src/infill/ghost";
import { InlineProvider } from "../src/inline";
import { shownOf, Status, type Last } from "../src/status";
import { UmadClient } from "../src/socket/client";
import { noDaemon } from "../src/socket/errors";
import { MODEL, ScriptedDaemon, usual } from "./daemon";
import * as editor from "./vscode";

const log = { lines: [] as string[], info: (line: string) => void log.lines.push(line), warn: (line: string) => void log.lines.push(line) };

beforeEach(() => {
  for (const name of Object.keys(editor.settings)) delete editor.settings[name];
  editor.settings["umad.completion.debounce_ms"] = 0;
  editor.messages.length = 0;
  log.lines.length = 0;
});

async function provide(daemon: ScriptedDaemon, text: string, { kind = 1, source = editor.tokenSource(), client = undefined as UmadClient | undefined, writer = undefined as GhostWriter | undefined } = {}) {
  const own = client ?? new UmadClient("test/1", () => daemon.path, { environ: {}, platform: "linux", uid: process.getuid!(), home: "" });
  const told: (Last | null)[] = [];
  const provider = new InlineProvider(writer ?? new GhostWriter(own), (last) => told.push(last), log);
  const before = text.slice(0, text.indexOf("|")).split("\n");
  const position = new editor.Position(before.length - 1, before.at(-1)!.length);
  const context = { triggerKind: kind, selectedCompletionInfo: undefined };
  const items = await provider.provideInlineCompletionItems(editor.documentOf(text.replace("|", "")) as never, position as never, context as never, source.token as never);
  if (client === undefined) own.close();
  return { texts: items.map((item) => item.insertText), told };
}

async function withDaemon(pieces: string[], work: (daemon: ScriptedDaemon) => Promise<void>, models: unknown[] = [MODEL]): Promise<void> {
  const daemon = await new ScriptedDaemon(usual(pieces, models)).start();
  try {
    await work(daemon);
  } finally {
    await daemon.stop();
    daemon.remove();
  }
}

test("what the model fills in is shown at the cursor, without what stands there", () =>
  withDaemon(["'hi'", ")"], async (daemon) => {
    const { texts, told } = await provide(daemon, "print(|)");
    assert.deepEqual(texts, ["'hi'"]);
    assert.deepEqual(told.at(-1), { kind: "shown", model: "coder", isBlind: false });
    const asked = await daemon.hears("generate");
    assert.deepEqual(asked["prompt_ids"], [1001, ...Buffer.from("print("), 1002, ...Buffer.from(")"), 1003]);
    assert.equal(asked["lane"], "interactive");
  }));

test("typing along the grey text asks nobody", () =>
  withDaemon(["value"], async (daemon) => {
    const client = new UmadClient("test/1", () => daemon.path, { environ: {}, platform: "linux", uid: process.getuid!(), home: "" });
    const writer = new GhostWriter(client);
    await provide(daemon, "x = |", { client, writer });
    const { texts } = await provide(daemon, "x = va|", { client, writer });
    assert.deepEqual(texts, ["lue"]);
    assert.equal(daemon.heard.filter((message) => message.type === "generate").length, 1);
    client.close();
  }));

test("the next key cancels at the daemon", async () => {
  const quiet = usual([]);
  const daemon = await new ScriptedDaemon((message, say, socket) => {
    if (message.type !== "generate") quiet(message, say, socket);
  }).start();
  const source = editor.tokenSource();
  const shown = provide(daemon, "x = |", { source });
  const asked = await daemon.hears("generate");
  source.cancel();
  const { texts, told } = await shown;
  assert.deepEqual(texts, []);
  assert.equal(told.at(-1), null);
  assert.equal((await daemon.hears("cancel"))["own_id"], asked["id"]);
  assert.deepEqual(log.lines, [], "a key is no failure");
  await daemon.stop();
  daemon.remove();
});

test("without a daemon there is no text and no message", async () => {
  const daemon = new ScriptedDaemon(usual([]));
  const { texts, told } = await provide(daemon, "x = |");
  assert.deepEqual(texts, []);
  assert.equal(told.at(-1)?.kind, "failed");
  assert.deepEqual(editor.messages, []);
  daemon.remove();
});

test("a model without marks goes on behind the cursor, and the status bar says so", () =>
  withDaemon(["1"], async (daemon) => {
    const { texts, told } = await provide(daemon, "x = |");
    assert.deepEqual(texts, ["1"]);
    const last = told.at(-1)!;
    assert.match(shownOf({ kind: "ready", server: "umad/0.1.0" }, last, "interactive").tooltip, /only what is before the cursor/);
    assert.deepEqual((await daemon.hears("generate"))["prompt_ids"], [...Buffer.from("x = ")]);
  }, [{ ...MODEL, fim_tokens: {} }]));

for (const [says, text, set] of [
  ["in a file of bytes", "ELF\0|", {}],
  ["inside a word", "val|ue", {}],
  ["where it is switched off", "x = |", { "umad.completion.enabled": false }],
] as const) {
  test(`nobody is asked ${says}`, () =>
    withDaemon(["1"], async (daemon) => {
      Object.assign(editor.settings, set);
      assert.deepEqual((await provide(daemon, text)).texts, []);
      assert.deepEqual(daemon.heard, []);
    }));
}

test("a model is found by its name, as people write it", () => {
  const rows = [{ name: "nano", ctx: 1 }, { name: "Qwen2.5-Coder-7B", ctx: 1, fim_tokens: MODEL.fim_tokens }, { name: "loading" }];
  assert.equal(modelOf(rows, "")?.name, "Qwen2.5-Coder-7B");
  assert.equal(modelOf(rows, "qwen2.5_coder")?.name, "Qwen2.5-Coder-7B");
  assert.equal(modelOf(rows, "nano:latest")?.name, "nano");
  assert.equal(modelOf(rows, "absent"), null);
  const two = [...rows, { name: "Qwen3-Coder", ctx: 1 }];
  assert.equal(modelOf(two, "qwen3")?.name, "Qwen3-Coder");
  assert.throws(() => modelOf(two, "qwen"), /Qwen2.5-Coder-7B or Qwen3-Coder; say which/);
  assert.throws(() => modelOf([], ""), /umad load/);
});

test("a model that the daemon loads for requests is loaded for the cursor; another one is named", () =>
  withDaemon(["1"], async (daemon) => {
    editor.settings["umad.completion.model"] = "lazy";
    assert.deepEqual((await provide(daemon, "x = |")).told.at(-1), { kind: "shown", model: "lazy", isBlind: false });
    assert.equal((await daemon.hears("load"))["as_request"], true);

    editor.settings["umad.completion.model"] = "absent";
    const last = (await provide(daemon, "y = |")).told.at(-1);
    assert.match(last?.kind === "failed" ? last.message : "", /umad load absent, or choose one that is: coder/);
  }));

test("a key in its pause leaves no sign of the key before, which was being asked", async () => {
  const quiet = usual([]);
  const daemon = await new ScriptedDaemon((message, say, socket) => {
    if (message.type !== "generate") quiet(message, say, socket);
  }).start();
  const client = new UmadClient("test/1", () => daemon.path, { environ: {}, platform: "linux", uid: process.getuid!(), home: "" });
  const told: (Last | null)[] = [];
  const provider = new InlineProvider(new GhostWriter(client), (last) => told.push(last), log);
  const key = (text: string, source: ReturnType<typeof editor.tokenSource>): Promise<unknown> =>
    provider.provideInlineCompletionItems(
      editor.documentOf(text) as never, new editor.Position(0, text.length) as never,
      { triggerKind: 1, selectedCompletionInfo: undefined } as never, source.token as never,
    );
  const [first, second] = [editor.tokenSource(), editor.tokenSource()];
  const asking = key("x = ", first);
  await daemon.hears("generate");
  editor.settings["umad.completion.debounce_ms"] = 60_000;
  const waiting = key("x = y", second);
  first.cancel();
  await asking;
  second.cancel();
  await waiting;
  assert.equal(told.at(-1), null);
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("a failure is one line of the log, however many keys meet it", () =>
  withDaemon([], async (daemon) => {
    const client = new UmadClient("test/1", () => daemon.path, { environ: {}, platform: "linux", uid: process.getuid!(), home: "" });
    const provider = new InlineProvider(new GhostWriter(client), () => {}, log);
    for (const text of ["x", "xy", "xyz"]) {
      await provider.provideInlineCompletionItems(
        editor.documentOf(text) as never, new editor.Position(0, text.length) as never,
        { triggerKind: 1, selectedCompletionInfo: undefined } as never, editor.tokenSource().token as never,
      );
    }
    assert.deepEqual(log.lines, ["completion: unsupported: no model that writes text is loaded: umad load MODEL"]);
    client.close();
  }, []));

test("a daemon that is back is shown, though a key met none in between", () => {
  const status = new Status(() => "interactive");
  status.state = { kind: "absent", error: noDaemon("/s") };
  status.last = { kind: "failed", message: "no daemon listens" };
  status.state = { kind: "ready", server: "umad/0.1.0" };
  assert.equal(editor.statusItem.backgroundColor, undefined);
  assert.doesNotMatch(editor.statusItem.tooltip, /no daemon/);
});

test("half of a character in a file costs no connection", () =>
  withDaemon(["1"], async (daemon) => {
    const { texts } = await provide(daemon, "s = '\ud83d' + |");
    assert.deepEqual(texts, ["1"]);
    const asked = daemon.heard.find((message) => message.type === "tokenize")!;
    assert.equal(asked["text"], "s = '\ufffd' + ");
  }));

test("the status bar recovers: it is made of the present state alone", () => {
  const failed: Last = { kind: "failed", message: "it died" };
  const ready = { kind: "ready", server: "umad/0.1.0" } as const;
  assert.match(shownOf({ kind: "absent", error: noDaemon("/s") }, failed, "interactive").tooltip, /umad serve/);
  assert.match(shownOf(ready, failed, "interactive").tooltip, /it died/);
  assert.equal(shownOf(ready, null, "interactive").isWarning, false);
});
