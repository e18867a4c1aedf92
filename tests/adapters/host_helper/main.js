// Does in the extension host what a test asks for, as any extension could: one line of JSON is a
// question, one line is its answer. UMAD_HOST_HELPER names the socket on which it is asked.

const { rmSync } = require("node:fs");
const { createServer } = require("node:net");
const { createInterface } = require("node:readline");
const vscode = require("vscode");

const DO = {
  // Names of umad's models as the editor has them.
  models: async () => (await vscode.lm.selectChatModels({ vendor: "umad" })).map((one) => one.id),

  // A chat turn; a call of a tool gets `result`, and the model is asked again.
  chat: async ({ text, tool, result }) => {
    const [model] = await vscode.lm.selectChatModels({ vendor: "umad" });
    if (!model) throw new Error("the editor has no model of umad's");
    const tools = tool ? [{ name: tool, description: "A tool of the test", inputSchema: { type: "object", properties: {} } }] : [];
    const messages = [vscode.LanguageModelChatMessage.User(text)];
    const said = [];
    for (let isAsked = true; isAsked; ) {
      isAsked = false;
      const answer = await model.sendRequest(messages, { tools });
      for await (const part of answer.stream) {
        if (part instanceof vscode.LanguageModelTextPart) said.push(part.value);
        if (!(part instanceof vscode.LanguageModelToolCallPart)) continue;
        said.push({ called: part.name });
        const back = new vscode.LanguageModelToolResultPart(part.callId, [new vscode.LanguageModelTextPart(result)]);
        messages.push(vscode.LanguageModelChatMessage.Assistant([part]), vscode.LanguageModelChatMessage.User([back]));
        isAsked = true;
      }
    }
    return said;
  },

  settings: async ({ names }) => {
    const { isTrusted } = vscode.workspace;
    return { isTrusted, values: names.map((name) => vscode.workspace.getConfiguration("umad").get(name)) };
  },
};

// A chat participant that has the chosen model answer, and tells it the time where it asks.
const clock = async (request, _context, response, token) => {
  const tools = [{ name: "now", description: "The time", inputSchema: { type: "object", properties: {} } }];
  const messages = [vscode.LanguageModelChatMessage.User(request.prompt)];
  for (let isAsked = true; isAsked; ) {
    isAsked = false;
    const answer = await request.model.sendRequest(messages, { tools }, token);
    for await (const part of answer.stream) {
      if (part instanceof vscode.LanguageModelTextPart) response.markdown(part.value);
      if (!(part instanceof vscode.LanguageModelToolCallPart)) continue;
      response.progress(`${request.model.id} calls ${part.name}`);
      const back = new vscode.LanguageModelToolResultPart(part.callId, [new vscode.LanguageModelTextPart("12:00")]);
      messages.push(vscode.LanguageModelChatMessage.Assistant([part]), vscode.LanguageModelChatMessage.User([back]));
      isAsked = true;
    }
  }
};

exports.activate = (context) => {
  context.subscriptions.push(vscode.chat.createChatParticipant("umad-host-helper.clock", clock));
  const path = process.env.UMAD_HOST_HELPER;
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    createInterface({ input: socket }).on("line", async (line) => {
      let answer;
      try {
        const { do: name, ...words } = JSON.parse(line);
        answer = { done: await DO[name](words) };
      } catch (error) {
        answer = { failed: String(error?.message ?? error) };
      }
      socket.write(`${JSON.stringify(answer)}\n`);
    });
    socket.on("error", () => {});
  });
  server.listen(path);
  context.subscriptions.push({ dispose: () => server.close() });
};
