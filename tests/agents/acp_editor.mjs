// An editor of the protocol's own makers: drives `umad acp` by @agentclientprotocol/sdk, and prints what
// it met as JSON. `NODE_PATH` is not read for ES modules, so the package's folder is an argument.
//     node acp_editor.mjs SDK_FOLDER SESSION|"" COMMAND [ARGUMENT]…
import { spawn } from "node:child_process";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [folder, loaded, command, ...args] = process.argv.slice(2);
const { client, methods, ndJsonStream } = await import(pathToFileURL(join(folder, "dist/v1/stable/acp.js")).href);
const agent = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
const stream = ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout));
const met = { updates: [], permissions: [], read: [] };
const app = client({ name: "editor" })
  .onNotification(methods.client.session.update, ({ params }) => void met.updates.push(params.update))
  .onRequest(methods.client.session.requestPermission, ({ params }) => {
    met.permissions.push(params.toolCall.title);
    return { outcome: { outcome: "selected", optionId: params.options[0].optionId } };
  })
  .onRequest(methods.client.fs.readTextFile, ({ params }) => {
    met.read.push(params.path);
    return { content: "x = 1\n" };
  });
await app.connectWith(stream, async (ctx) => {
  const said = (text) => [{ type: "text", text }];
  met.initialized = await ctx.request(methods.agent.initialize, {
    protocolVersion: 1,
    clientCapabilities: { fs: { readTextFile: true, writeTextFile: false }, terminal: false },
  });
  if (loaded) {
    met.loaded = await ctx.request(methods.agent.session.load, { sessionId: loaded, cwd: "/project", mcpServers: [] });
    return;
  }
  const { sessionId, modes } = await ctx.request(methods.agent.session.new, { cwd: "/project", mcpServers: [] });
  Object.assign(met, { sessionId, modes });
  met.answered = await ctx.request(methods.agent.session.prompt, { sessionId, prompt: said("What is in f.py?") });
  await ctx.request(methods.agent.session.setMode, { sessionId, modeId: "chat" });
  const asking = ctx.request(methods.agent.session.prompt, { sessionId, prompt: said("Tell me a long story.") });
  await ctx.notify(methods.agent.session.cancel, { sessionId });
  met.cancelled = await asking;
});
agent.stdin.end();
console.log(JSON.stringify(met));
