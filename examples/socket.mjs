// The daemon's socket from Node, without a package: umad/protocol/README.md is all it needs.
//     node examples/socket.mjs "def area(width, height):" [SOCKET]
// A frame is a length of 4 bytes and a body of msgpack; this has what a request needs of it.
import { createConnection } from "node:net";
import { homedir } from "node:os";
const [prompt, given] = process.argv.slice(2);
const home = homedir() + (process.platform === "darwin" ? "/Library/Application Support" : "/.local/state");
const path = given ?? process.env.UMAD_SOCKET ?? (process.env.XDG_RUNTIME_DIR ?? home) + "/umad/umad.sock";
const sized = (type, size) => Buffer.from([type, size >>> 24, size >>> 16, size >>> 8, size]);
function pack(value) {
  if (typeof value === "string") return Buffer.concat([sized(0xdb, Buffer.byteLength(value)), Buffer.from(value)]);
  if (Number.isInteger(value)) return sized(0xce, value); // from 0 to 2^32 - 1
  return Buffer.concat([sized(0xdf, Object.keys(value).length), ...Object.entries(value).flat().map(pack)]); // a map
}
function unpack(body) {
  let at = 0;
  const bytes = (n) => body.subarray(at, (at += n));
  const uint = (n) => (n < 8 ? bytes(n).readUIntBE(0, n) : Number(bytes(8).readBigUInt64BE()));
  const int = (n) => (n < 8 ? bytes(n).readIntBE(0, n) : Number(bytes(8).readBigInt64BE()));
  const text = (n) => bytes(n).toString();
  const array = (n) => Array.from({ length: n }, item);
  const map = (n) => Object.fromEntries(Array.from({ length: n }, () => [item(), item()]));
  const long = { 0xc0: () => null, 0xc2: () => false, 0xc3: () => true, 0xca: () => bytes(4).readFloatBE(), 0xcb: () => bytes(8).readDoubleBE() };
  for (const step of [0, 1, 2, 3]) {
    Object.assign(long, { [0xcc + step]: () => uint(1 << step), [0xd0 + step]: () => int(1 << step) });
    if (step < 3) Object.assign(long, { [0xc4 + step]: () => bytes(uint(1 << step)), [0xd9 + step]: () => text(uint(1 << step)) });
    if (step < 2) Object.assign(long, { [0xdc + step]: () => array(uint(2 << step)), [0xde + step]: () => map(uint(2 << step)) });
  }
  function item() {
    const type = uint(1);
    if (type >= 0xc0) return type >= 0xe0 ? type - 256 : long[type]();
    return type < 0x80 ? type : type < 0x90 ? map(type & 15) : type < 0xa0 ? array(type & 15) : text(type & 31);
  }
  return item();
}

// A daemon that has gone may come back: the next one is asked for what has not come yet.
let [asked, left, isKnown, looks] = [prompt ?? "import os\n", 40, false, 0];
const fail = (words) => { console.error(words); process.exit(1); };
(function ask() {
  let held = Buffer.alloc(0);
  const socket = createConnection(path).on("error", (error) => isKnown || fail(`no daemon: ${error.message}`));
  const send = (message) => { const body = pack(message); socket.write(Buffer.concat([pack(body.length).subarray(1), body])); };
  send({ type: "hello", protocol: 1, client: "node" });
  send({ type: "generate", id: 1, prompt: asked, max_tokens: left });
  socket.on("close", () => {
    if (left <= 0) return console.log();
    if (looks++ === 0) console.error("\nthe daemon has gone; looking for it again");
    looks > 100 ? fail("no daemon: it has not come back") : setTimeout(ask, 100);
  }).on("data", (data) => {
    held = Buffer.concat([held, data]);
    for (let end; held.length > 4 && held.length >= (end = 4 + held.readUInt32BE()); held = held.subarray(end)) {
      const message = unpack(held.subarray(4, end));
      if (message.type === "hello") { if (looks) console.error(`the daemon is back: ${message.server}`); [isKnown, looks] = [true, 0]; }
      if (message.type === "tokens") { process.stdout.write(message.text); asked += message.text; left -= message.ids.length; }
      if (message.type === "done") { left = 0; socket.end(); }
      if (message.type === "error") fail(`${message.code}: ${message.message}`);
    }
  });
})();
