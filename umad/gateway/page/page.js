"use strict";
// Puts the page together: which chat is shown, what is asked, and what becomes of an answer.

const KEY_PLACE = "umad.key";
const OPEN_PLACE = "umad.open";
const KEEP_DRAFT_AFTER_MS = 400;
const MOST_BOX_PX = 260;

const tab = storageOf("sessionStorage");  // what this tab alone knows, until it is closed
const remember = (place, value) => {
  try {
    tab?.setItem(place, value);
  } catch {
    // The browser keeps nothing: the page then begins anew each time.
  }
};
const shelf = new Shelf((id) => changedElsewhere(id));
const askings = new Map();  // by the chat's id
const problems = new Map();  // {message, partial} by the chat's id
let chat = null;  // the one that is shown
let draftTimer = null;
let adding = Promise.resolve();  // until all that was given is added

// -- showing -------------------------------------------------------------------------------------

const showChat = (next, {focus = true} = {}) => {
  keepDraft();
  const before = chat && askings.get(chat.id);
  if (before) before.view = null;
  chat = next;
  remember(OPEN_PLACE, chat.id);
  const asking = askings.get(chat.id);
  turns.show(chat, asking?.pending.at, deeds);
  at("spoken").replaceChildren();
  asking?.showIn(turns, deeds);
  at("prompt").value = chat.draft;
  models.choose(chat.model);
  settings.mark(chat);
  showBox();
  showChats();
  if (focus) at("prompt").focus();
};

const showChats = () => showShelf(shelf.all(), chat, {open, rename: named, remove});

// The box and what stands at it: the error, the note of an edit, and Send or Stop.
const showBox = () => {
  const isAsking = askings.has(chat.id);
  const hadFocus = document.activeElement === at("stop");
  turns.home.classList.toggle("is-asking", isAsking);
  at("send").hidden = isAsking;
  at("stop").hidden = !isAsking;
  if (hadFocus && !isAsking) at("prompt").focus();
  at("editing").hidden = chat.editing === null;
  box.show(chat.files);
  showProblem(problems.get(chat.id));
  fitBox();
};

const showProblem = (problem) => {
  at("problem").hidden = !problem;
  at("problem").replaceChildren();
  if (!problem) return;
  const leave = deed("Hide", "Hide this error", () => {
    problems.delete(chat.id);
    showProblem(null);
    at("prompt").focus();
  });
  at("problem").append(element("span", "", problem.message), leave);
  if (problem.partial) {
    at("problem").append(element("details", "", element("summary", "", "What had come of the answer"),
      element("div", "raw", problem.partial)));
  }
};

const trouble = (message, partial = "", where = chat) => {
  problems.set(where.id, {message, partial});
  if (where === chat) showProblem(problems.get(where.id));
};

const fitBox = () => {
  at("prompt").style.height = "auto";
  at("prompt").style.height = `${Math.min(at("prompt").scrollHeight, MOST_BOX_PX)}px`;
};

// -- keeping -------------------------------------------------------------------------------------

const keep = (one) => {
  if (!shelf.keep(one)) trouble("The browser has no room to keep this chat: it goes on, and is gone when the page is closed.", "", one);
  showChats();
};

const keepDraft = () => {
  clearTimeout(draftTimer);
  if (!chat || chat.draft === at("prompt").value) return;
  chat.draft = at("prompt").value;
  keep(chat);
};

const changedElsewhere = (id) => {
  const other = shelf.chats.get(id);
  if (id !== chat?.id || !other) return showChats();
  other.draft = at("prompt").value || other.draft;
  chat = null;  // what this tab held of it is older
  showChat(other, {focus: false});
};

// -- chats ---------------------------------------------------------------------------------------

const open = (one) => {
  closeDrawers();
  showChat(one);
};

const startChat = () => {
  closeDrawers();
  showChat(newChat(chat));
};

const named = (one, title) => {
  if (title) Object.assign(one, {title, isNamed: true});
  keep(one);
};

const remove = (one) => {
  if (!confirm(`Delete “${one.title || "this chat"}”? It cannot be brought back.`)) return;
  askings.get(one.id)?.stop();
  shelf.remove(one);
  problems.delete(one.id);
  if (one !== chat) return showChats();
  const next = newChat(one);
  chat = null;  // so that its draft is not kept
  showChat(shelf.all()[0] ?? next);
};

// -- asking --------------------------------------------------------------------------------------

const send = () => {
  const typed = at("prompt").value;
  const {files: added} = chat;
  if (!(typed.trim() || added.length) || askings.has(chat.id)) return;
  if (!models.chosen) return trouble("No model is loaded, so nobody can answer: umad load FILE loads one.");
  const unfit = added.find(({kind}) => models.takes(models.chosen, kind) === false);
  if (unfit) return trouble(`${models.whyNot(models.chosen, unfit.kind)} Or remove ${nameOf(unfit)}.`);
  const number = chat.editing ?? chat.turns.length;
  clearTimeout(draftTimer);
  at("prompt").value = "";
  Object.assign(chat, {draft: "", files: [], editing: null});
  ask({typed, files: added, at: number, isRetry: false});
};

const edit = (number) => {
  if (askings.has(chat.id)) return;
  const {content: text, files: notes = []} = chat.turns[number];
  if (chat.editing === null && (at("prompt").value.trim() || chat.files.length) &&
    !confirm("The message in the box is not sent yet. Drop it, and change the earlier one?")) return;
  Object.assign(chat, {draft: text, files: notes, editing: number});
  at("prompt").value = text;
  showBox();
  at("prompt").focus();
};

const leaveEditing = () => {
  Object.assign(chat, {draft: "", files: [], editing: null});
  at("prompt").value = "";
  keep(chat);
  showBox();
  at("prompt").focus();
};

const retry = (number) => {
  if (askings.has(chat.id)) return;
  const isLast = number === chat.turns.length - 1;
  if (!isLast && !confirm("Ask for this answer again? All that follows it is replaced once it is there.")) return;
  keepDraft();
  const {content: typed, files: notes = []} = chat.turns[number - 1];
  ask({typed, files: notes, at: number - 1, isRetry: true});
};

const deeds = {edit, retry};

// Until the answer is whole the chat has its old turns, all of them; what is asked is in `pending`.
const ask = async (pending) => {
  const asked = chat;
  const model = models.chosen;
  problems.delete(asked.id);
  if (!asked.isNamed && pending.at === 0) asked.title = titleOf(pending.typed || pending.files[0].name);
  Object.assign(asked, {pending, model: asked.model || model, usedMs: Date.now()});
  const asking = new Answering(asked, pending, model);
  askings.set(asked.id, asking);
  keep(asked);
  showChat(asked);
  const result = await asking.result();
  askings.delete(asked.id);
  asked.pending = null;
  if (result.answer) answered(asking, result.answer);
  else refused(asking, result);
  if (!shelf.chats.has(asked.id)) return;  // it was deleted meanwhile
  keep(asked);
};

const answered = (asking, answer) => {
  const {chat: asked, pending} = asking;
  asked.turns = [...asked.turns.slice(0, pending.at), asking.question, answer];
  asked.usedMs = Date.now();
  if (asked !== chat) return;
  asking.draw(true);
  turns.ended(asking.view, answer, pending.at + 1, deeds);
  showBox();
};

// The turn is not kept: the text goes back into the box, and the chat is as it was.
const refused = (asking, {problem, partial}) => {
  const {chat: asked, pending} = asking;
  if (asked === chat) asked.draft = at("prompt").value;
  if (!pending.isRetry) takeBack(asked, pending);
  if (problem) problems.set(asked.id, {message: problem, partial});
  if (asked !== chat) return;
  at("prompt").value = asked.draft;
  turns.show(chat, undefined, deeds);
  showBox();
  at("prompt").focus();
};

// -- files and speech ----------------------------------------------------------------------------

const kindOf = (file) => Object.keys(KINDS).find((kind) => file.type.startsWith(`${kind}/`));

// What a person adds to the message. What cannot be added is said.
const addFiles = (added) => {
  const [into, model] = [chat, models.chosen];
  if (!added.length) return trouble(models.whyNot(model, "image"));
  // One after the other, so that they stand in the order in which they came.
  for (const file of added) adding = adding.then(() => tryFile(into, model, file)).catch((error) => trouble(error.message, "", into));
};

const tryFile = async (into, model, file) => {
  const kind = kindOf(file);
  const name = file.name || "image";
  const mayBe = kind !== undefined && models.takes(model, kind);
  if (!kind || (kind === "audio" && mayBe !== true)) {
    throw new Unreadable(`${name} is not an image, and nothing else can be added here.`);
  }
  if (mayBe !== true) throw new Unreadable(models.whyNot(model, kind));
  if (into.files.length >= MOST_FILES) throw new Unreadable(`A message has at most ${MOST_FILES} files.`);
  await addFile(into, kind, file, name);
};

const addFile = async (into, kind, blob, name) => {
  const note = await files.add(kind, blob, name);
  into.files = [...into.files, note];
  if (into === chat) box.say(`${name} was added.`);
  keepFiles(into);
};

const removeFile = (note) => {
  chat.files = chat.files.filter((one) => one !== note);
  if (!filesOf(chat).some(({id}) => id === note.id)) files.remove([note]);  // an edited turn has it still
  box.say(`${note.name} was removed.`);
  keepFiles(chat);
  at("prompt").focus();
};

const keepFiles = (one) => {
  if (one === chat) one.draft = at("prompt").value;
  keep(one);
  if (one === chat) showBox();
};

const heard = async (clip, signal) => {
  const into = chat;
  if (models.takes(models.chosen, "audio") === true) return addFile(into, "audio", clip, "recording");
  const text = (await gateway.transcribe(await readSound(clip, "the recording"), signal)).trim();
  if (!text) throw new Unreadable("Nothing was heard in the recording.");
  const isShown = into === chat;
  const before = isShown ? at("prompt").value.slice(0, at("prompt").selectionStart) : into.draft;
  const words = /\S$/.test(before) ? ` ${text}` : text;
  if (!isShown) {
    into.draft += words;
    return keep(into);
  }
  const {selectionStart, selectionEnd} = at("prompt");
  at("prompt").setRangeText(words, selectionStart, selectionEnd, "end");
  fitBox();
  keepDraft();
  box.say("What was said was written into the box.");
  at("prompt").focus();
};

box.onFiles = addFiles;
box.onRemove = removeFile;
microphone.onClip = heard;
microphone.onTrouble = (message) => trouble(message);

// -- what a person does --------------------------------------------------------------------------

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
at("prompt").addEventListener("input", () => {
  fitBox();
  clearTimeout(draftTimer);
  draftTimer = setTimeout(keepDraft, KEEP_DRAFT_AFTER_MS);
});
addEventListener("pagehide", keepDraft);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || at("settings").open) return;
  if (closeDrawers() || microphone.leave()) return;
  if (askings.has(chat.id)) askings.get(chat.id).stop();
  else if (chat.editing !== null) leaveEditing();
});
at("stop").addEventListener("click", () => askings.get(chat.id)?.stop());
at("clear").addEventListener("click", startChat);
at("leave-editing").addEventListener("click", leaveEditing);
at("export").addEventListener("click", () => saveFile("chat.md", asMarkdown(chat)));
at("show-settings").addEventListener("click", () => settings.open(chat));
settings.onKeep = (system, parameters) => {
  Object.assign(chat, {system, parameters});
  settings.mark(chat);
  keep(chat);
};
models.onChoice = (name) => {
  chat.model = name;
  keep(chat);
};
at("load").addEventListener("click", () => models.load().catch((error) => trouble(error.message)));

// A key is only known to this tab, and gone with it.
gateway.key = at("key").value = tab?.getItem(KEY_PLACE) ?? "";
gateway.onKeyWanted = () => (at("key").hidden = false);
at("key").addEventListener("change", () => {
  gateway.key = at("key").value;
  remember(KEY_PLACE, gateway.key);
  scorecard.loadedAgain();
  models.list().then(() => scorecard.say(""), (error) => scorecard.say(error.message));
});

files.sweep(shelf.all());
showChat(shelf.chats.get(tab?.getItem(OPEN_PLACE)) ?? newChat(shelf.all()[0]));
models.list().catch((error) => scorecard.say(error.message)).then(() => scorecard.watch());
