"use strict";
// Keeps chats in the browser, one entry of localStorage each, so that two tabs do not write over
// each other's. The number and the size are limited; the chats not used for longest leave first.
//
// `turns` of a chat are whole exchanges only: a user's, then an answer. What is being asked is in
// `pending` until its answer is there, so a turn that was refused, or a page that was closed, never
// leaves anything behind that the next request would carry.

const MOST_CHATS = 50;
const MOST_CHARS = 2_000_000;  // browsers allow about five million
const PREFIX = "umad.chat.";
const MOST_TITLE_CHARS = 60;
const PARAMETERS = ["temperature", "top_p", "max_tokens", "seed"];

const freshId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (one) =>
  one.toString(16).padStart(2, "0")).join("");

const newChat = (like = null) => ({
  v: 1,
  id: freshId(),
  title: "",
  isNamed: false,  // by a person; else after its first turn
  model: like?.model ?? "",
  system: like?.system ?? "",
  parameters: {...(like?.parameters ?? {})},
  turns: [],
  draft: "",
  files: [],  // notes of those in the box; files.js
  editing: null,  // the number of the turn that the draft replaces
  pending: null,
  usedMs: Date.now(),
});

// A chat that was stored, or null. Another version of the page, or a person, may have written it.
const readChat = (text) => {
  let kept;
  try {
    kept = JSON.parse(text);
  } catch {
    return null;
  }
  if (kept?.v !== 1 || typeof kept.id !== "string" || !Array.isArray(kept.turns)) return null;
  const isWhole = kept.turns.length % 2 === 0 && kept.turns.every((turn, at) =>
    turn?.role === (at % 2 ? "assistant" : "user") && typeof turn.content === "string");
  if (!isWhole) return null;
  const chat = newChat();
  for (const [name, value] of Object.entries(chat)) {
    if (typeof kept[name] === typeof value && value !== null) chat[name] = kept[name] ?? value;
  }
  chat.files = readNotes(kept.files);
  for (const turn of chat.turns) {
    if (turn.files !== undefined) turn.files = readNotes(turn.files);
  }
  if (isPlace(kept.editing, chat)) chat.editing = kept.editing;
  // The page was closed while it was being answered.
  const {pending} = kept;
  if (typeof pending?.typed === "string" && !pending.isRetry) takeBack(chat, pending);
  return chat;
};

const isPlace = (number, chat) => Number.isInteger(number) && number >= 0 && number < chat.turns.length;

// Puts what was asked back into the box, before anything that has been typed since.
const takeBack = (chat, {typed, at, files: notes}) => {
  chat.draft = chat.draft && typed ? `${typed}\n\n${chat.draft}` : typed || chat.draft;
  chat.files = [...readNotes(notes), ...chat.files];
  chat.editing = isPlace(at, chat) ? at : null;
};

const titleOf = (text) => {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > MOST_TITLE_CHARS ? `${line.slice(0, MOST_TITLE_CHARS - 1)}…` : line;
};

class Shelf {
  constructor(onChange) {
    this.chats = new Map();
    this.storage = storageOf("localStorage");
    this.onChange = onChange;
    for (const key of this.keys()) {
      const chat = readChat(this.storage.getItem(key));
      if (chat) this.chats.set(chat.id, chat);
    }
    addEventListener("storage", (event) => this.changedElsewhere(event));
  }

  keys() {
    const all = Array.from({length: this.storage?.length ?? 0}, (_, at) => this.storage.key(at));
    return all.filter((key) => key?.startsWith(PREFIX));
  }

  // The one used last comes first.
  all() {
    return [...this.chats.values()].sort((a, b) => b.usedMs - a.usedMs);
  }

  // Returns whether the browser keeps it. A chat without a word is not kept.
  keep(chat) {
    if (!chat.turns.length && !chat.draft && !chat.files.length && !chat.pending && !chat.isNamed) {
      this.remove(chat);
      return true;
    }
    this.chats.set(chat.id, chat);
    while (this.chats.size > MOST_CHATS && this.dropOldest(chat));
    if (!this.storage) return false;
    const text = JSON.stringify(chat);
    let isKept = this.write(chat, text);
    while (!isKept && this.dropOldest(chat)) isKept = this.write(chat, text);
    return isKept;
  }

  write(chat, text) {
    const key = PREFIX + chat.id;
    const others = this.keys().filter((one) => one !== key);
    const chars = others.reduce((sum, one) => sum + this.storage.getItem(one).length, text.length);
    if (chars > MOST_CHARS) return false;
    try {
      this.storage.setItem(key, text);
      return true;
    } catch {  // the browser's own limit
      return false;
    }
  }

  // Whether there was one to drop, other than `kept`.
  dropOldest(kept) {
    const oldest = this.all().findLast((one) => one !== kept && !one.pending);
    if (oldest) this.remove(oldest);
    return Boolean(oldest);
  }

  remove(chat) {
    this.chats.delete(chat.id);
    files.remove(filesOf(chat));
    this.storage?.removeItem(PREFIX + chat.id);
  }

  changedElsewhere({key, newValue}) {
    if (!key?.startsWith(PREFIX)) return;
    const id = key.slice(PREFIX.length);
    const chat = newValue === null ? null : readElsewhere(newValue);
    if (this.chats.get(id)?.pending) return;  // this tab is asking in it
    if (chat) this.chats.set(id, chat);
    else if (newValue === null) this.chats.delete(id);
    this.onChange(id);
  }
}

// The tab that is asking still has what it asks: nothing is taken back here.
const readElsewhere = (text) => {
  const chat = readChat(text);
  const pending = chat && JSON.parse(text).pending;
  if (pending) [chat.draft, chat.files, chat.editing] = ["", [], null];
  return chat;
};

// None where the browser forbids it: then chats live as long as the page.
const storageOf = (name) => {
  try {
    return window[name];
  } catch {
    return null;
  }
};
