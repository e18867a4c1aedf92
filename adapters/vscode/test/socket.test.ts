// The connection to the daemon: frames, the recorded exchange of the protocol's page, losses, versions.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { UmadClient, type State, type Timers } from "../src/socket/client";
import { UmadError } from "../src/socket/errors";
import { frameOf, FrameReader, type Message } from "../src/socket/frames";
import { checkFolder, socketPlaces } from "../src/socket/places";
import { ScriptedDaemon, usual } from "./daemon";

const uid = process.getuid!();
const surroundings = { environ: {}, platform: "linux", uid, home: "" };

// Time passes when the test says so.
class HeldTimers implements Timers {
  readonly waiting: (() => void)[] = [];
  after(_ms: number, what: () => void): () => void {
    this.waiting.push(what);
    return () => void this.waiting.splice(this.waiting.indexOf(what), 1);
  }
}

function clientOf(path: string, timers?: Timers): { client: UmadClient; states: State[] } {
  const states: State[] = [];
  const client = new UmadClient("test/1", () => path, surroundings, timers);
  client.onState = (state) => states.push(state);
  return { client, states };
}

// The frames of "One exchange" in umad/protocol/README.md, of the daemon ("<") or the client (">").
function recorded(side: "<" | ">"): Buffer {
  const page = readFileSync(join(__dirname, "../../../../umad/protocol/README.md"), "utf8");
  const dump = /```hexdump\n([^]*?)```/.exec(page)![1]!;
  const rows = dump.split("\n").filter((row) => row.startsWith(side));
  return Buffer.from(rows.map((row) => row.slice(2, 50).replace(/ /g, "")).join(""), "hex");
}

test("the recorded exchange is read, however its bytes are divided", () => {
  const bytes = recorded("<");
  const whole = new FrameReader().feed(bytes);
  assert.deepEqual(whole.map((message) => message.type), ["hello", "accepted", "tokens", "done"]);
  const reader = new FrameReader();
  const single: Message[] = [];
  for (const byte of bytes) single.push(...reader.feed(Buffer.from([byte])));
  assert.deepEqual(single, whole);
});

test("what is written is what the recorded client wrote", () => {
  const [, generate] = new FrameReader().feed(recorded(">"));
  const written = new FrameReader().feed(frameOf({ type: "generate", id: 1, prompt: "Hi", max_tokens: 1, stop: undefined }));
  assert.deepEqual(written, [generate]);
});

for (const bytes of ["GET / HTTP/1.1\r\n", "\x00\x00\x00\x01\xc0", "\x00\x00\x00\x02\xc1\xc1"]) {
  test(`bytes of another program are refused: ${JSON.stringify(bytes)}`, () => {
    assert.throws(() => new FrameReader().feed(Buffer.from(bytes, "latin1")), { code: "protocol_error" });
  });
}

test("a generation streams, and ends", async () => {
  const daemon = await new ScriptedDaemon(usual(["a", "b"])).start();
  const { client } = clientOf(daemon.path);
  let text = "";
  const done = await client.generate({ type: "generate", prompt: "x" }, (piece) => (text += piece));
  assert.equal(text, "ab");
  assert.equal(done["finish_reason"], "stop");
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("aborting cancels the request at the daemon by the id it was given", async () => {
  const daemon = await new ScriptedDaemon((message, say) => {
    if (message.type === "hello") say({ type: "hello", protocol: 1, server: "umad/0.1.0" });
  }).start();
  const { client } = clientOf(daemon.path);
  const aborter = new AbortController();
  const ended = assert.rejects(client.generate({ type: "generate", prompt: "x" }, () => {}, aborter.signal), { code: "cancelled" });
  const asked = await daemon.hears("generate");
  aborter.abort();
  const cancel = await daemon.hears("cancel");
  assert.equal(cancel["own_id"], asked["id"]);
  await ended;
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("without a daemon the error says how to start one, and the client looks again", async () => {
  const timers = new HeldTimers();
  const daemon = new ScriptedDaemon(usual([]));
  const { client, states } = clientOf(daemon.path, timers);
  await assert.rejects(client.call("ping"), { code: "no_daemon", message: /umad serve/ });
  assert.deepEqual(states.map((state) => state.kind), ["absent"]);

  await daemon.start();
  timers.waiting.at(-1)!();
  await daemon.hears("hello");
  await client.models();
  assert.deepEqual(states.map((state) => state.kind), ["absent", "ready"]);
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("a daemon that is killed fails what runs, and is found again", async () => {
  const timers = new HeldTimers();
  const daemon = await new ScriptedDaemon((message, say, socket) => {
    if (message.type === "generate") socket.destroy();
    else usual([])(message, say, socket);
  }).start();
  const { client, states } = clientOf(daemon.path, timers);
  await assert.rejects(client.generate({ type: "generate", prompt: "x" }, () => {}), { code: "connection_lost" });
  await client.models();
  assert.deepEqual(states.map((state) => state.kind), ["ready", "absent", "ready"]);
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("what is asked while a daemon restarts waits for the next one, and the state says that it is back", async () => {
  const daemon = await new ScriptedDaemon(usual([])).start();
  const { client, states } = clientOf(daemon.path);
  await client.models();
  await daemon.stop();
  while (states.at(-1)!.kind !== "absent") await new Promise(setImmediate);

  const asked = client.models();
  await daemon.start();

  assert.equal((await asked).length, 1);
  assert.equal(states.at(-1)!.kind, "ready");
  client.close();
  await daemon.stop();
  daemon.remove();
});

test("another socket in the settings counts at once, though the one before has not greeted yet", async () => {
  const silent = await new ScriptedDaemon(() => {}).start();
  const daemon = await new ScriptedDaemon(usual([])).start();
  let path = silent.path;
  const client = new UmadClient("test/1", () => path, surroundings, new HeldTimers());
  const first = client.start();
  await silent.hears("hello");

  path = daemon.path;
  client.reconnect();

  assert.equal((await client.models()).length, 1);
  client.close();
  await silent.stop();
  await first;
  assert.equal(client.state.kind, "ready");
  await daemon.stop();
  silent.remove();
  daemon.remove();
});

test("somebody who connects again does not wait for the next look, however many were in vain", async () => {
  const waits: number[] = [];
  const timers: Timers = { after: (ms) => (waits.push(ms), () => {}) };
  const client = new UmadClient("test/1", () => "/nowhere/s", surroundings, timers);
  for (let look = 0; look < 9; look++) await client.start();
  assert.equal(waits.at(-1), 2_000);
  client.reconnect();
  assert.equal(waits.at(-1), 100);
  client.close();
});

test("what is no character of UTF-8 is written as the sign for that, in long texts and in short ones", () => {
  for (const text of ["a\ud83db", `${"x".repeat(300)}\ude00`]) {
    const [read] = new FrameReader().feed(frameOf({ type: "chat", messages: [{ content: text }], ids: [1, 2] }));
    assert.deepEqual(read, { type: "chat", messages: [{ content: text.toWellFormed() }], ids: [1, 2] });
  }
});

for (const [theirs, words] of [[2, /upgrade the extension/], [0, /upgrade umad/]] as const) {
  test(`a daemon of version ${theirs} says which side to upgrade`, async () => {
    const answers: Message[] = [
      { type: "error", id: null, code: "unsupported_version", message: `this daemon speaks version ${theirs} of the protocol, the client 1` },
      { type: "hello", protocol: theirs, server: "umad/9" },
    ];
    for (const answer of answers) {
      const daemon = await new ScriptedDaemon((_, say) => say(answer)).start();
      const { client } = clientOf(daemon.path, new HeldTimers());
      await assert.rejects(client.call("ping"), { code: "unsupported_version", message: words });
      client.close();
      await daemon.stop();
      daemon.remove();
    }
  });
}

test("the places are those of umad/socket_path.py", () => {
  const at = { environ: { XDG_RUNTIME_DIR: "/run/user/7", HOME: "/home/a" }, platform: "linux", uid: 7, home: "/home/a" };
  assert.deepEqual(socketPlaces("", at), ["/run/user/7/umad/umad.sock", "/home/a/.local/state/umad/umad.sock"]);
  assert.deepEqual(socketPlaces("", { ...at, platform: "darwin" })[1], "/home/a/Library/Application Support/umad/umad.sock");
  assert.deepEqual(socketPlaces("", { ...at, environ: { ...at.environ, UMAD_SOCKET: "/s" } }), ["/s"]);
  assert.deepEqual(socketPlaces("/named", { ...at, environ: { UMAD_SOCKET: "/s" } }), ["/named"]);
  assert.throws(() => socketPlaces(`/${"x".repeat(200)}`, at), { code: "bad_config" });
});

test("a folder in which others may write is refused", () => {
  const folder = mkdtempSync(join(tmpdir(), "umad-"));
  checkFolder(join(folder, "s"), uid);
  chmodSync(folder, 0o777);
  assert.throws(() => checkFolder(join(folder, "s"), uid), UmadError);
  rmSync(folder, { recursive: true });
});
