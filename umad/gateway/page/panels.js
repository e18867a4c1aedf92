"use strict";
// What lies around the conversation: the list of chats, the settings, and both drawers of a small
// screen.

// -- the list of chats ---------------------------------------------------------------------------

// `deeds`: {open, rename, remove}, each given the chat.
const showShelf = (chats, shown, deeds) => {
  const row = (chat) => {
    const title = chat.title || "A chat without a name";
    const open = element("button", "quiet open", title);
    open.type = "button";
    open.title = title;
    if (chat === shown) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => deeds.open(chat));
    const item = element("li", "", open,
      deed("Rename", `Rename ${title}`, () => rename(chat, item, deeds)),
      deed("Delete", `Delete ${title}`, () => deeds.remove(chat)));
    return item;
  };
  at("shelf").replaceChildren(...chats.map(row));
};

const rename = (chat, item, deeds) => {
  const input = element("input");
  input.value = chat.title;
  input.maxLength = MOST_TITLE_CHARS;
  input.setAttribute("aria-label", "Name of the chat");
  let isOver = false;
  const end = (isKept) => {
    if (isOver) return;
    isOver = true;
    deeds.rename(chat, isKept ? titleOf(input.value) : "");
  };
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
  });
  input.addEventListener("blur", () => end(true));
  item.replaceChildren(input);
  input.focus();
  input.select();
};

const asMarkdown = (chat) => {
  const system = chat.system.trim() ? [`> ${chat.system.trim().replaceAll("\n", "\n> ")}`] : [];
  const said = chat.turns.map((turn) =>
    [`## ${turn.role === "user" ? "You" : turn.model || "Answer"}`,
      ...(turn.files ?? []).map((note) => `*(${nameOf(note)})*`), turn.content].join("\n\n"));
  return [`# ${chat.title || "Chat"}`, ...system, ...said].join("\n\n") + "\n";
};

const saveFile = (name, text) => {
  const address = URL.createObjectURL(new Blob([text], {type: "text/markdown"}));
  const made = element("a");
  made.href = address;
  made.download = name;
  made.click();
  URL.revokeObjectURL(address);
};

// -- settings ------------------------------------------------------------------------------------

const settings = {
  onKeep: () => {},

  open(chat) {
    at("system").value = chat.system;
    for (const name of PARAMETERS) at(name).value = chat.parameters[name] ?? "";
    at("settings").showModal();
  },

  get parameters() {
    const given = PARAMETERS.map((name) => [name, at(name).valueAsNumber]);
    return Object.fromEntries(given.filter(([, value]) => Number.isFinite(value)));
  },

  // Says on the button whether a chat differs from what is usual.
  mark(chat) {
    const isSet = Boolean(chat.system.trim()) || Object.keys(chat.parameters).length > 0;
    at("show-settings").classList.toggle("is-set", isSet);
    at("show-settings").title = isSet ? "This chat has settings of its own" : "";
  },
};

// The form is only submitted when its numbers are in their ranges; Escape and Cancel change nothing.
at("settings").querySelector("form").addEventListener("submit", () =>
  settings.onKeep(at("system").value, settings.parameters));
at("leave-settings").addEventListener("click", () => at("settings").close());
at("reset-settings").addEventListener("click", () => {
  for (const name of ["system", ...PARAMETERS]) at(name).value = "";
});

// -- drawers of a small screen -------------------------------------------------------------------

const DRAWERS = {"show-chats": "chats", "show-card": "card"};

const closeDrawers = () => {
  let isClosed = false;
  for (const [opener, id] of Object.entries(DRAWERS)) {
    if (!at(id).classList.contains("is-open")) continue;
    at(id).classList.remove("is-open");
    at(opener).setAttribute("aria-expanded", "false");
    at(opener).focus();
    isClosed = true;
  }
  at("scrim").hidden = true;
  return isClosed;
};

for (const [opener, id] of Object.entries(DRAWERS)) {
  at(opener).addEventListener("click", () => {
    closeDrawers();
    at(id).classList.add("is-open");
    at(opener).setAttribute("aria-expanded", "true");
    at("scrim").hidden = false;
    at(id).tabIndex = -1;
    at(id).focus();
  });
}
at("scrim").addEventListener("click", closeDrawers);
