"use strict";
// The picker of the model: every model that the daemon knows, and what state it is in.

// The daemon's words for an engine's state, and a person's.
const STATES = {
  ready: "loaded",
  starting: "loading",
  dead: "restarting",
  draining: "unloading",
  suspending: "suspended",
  suspended: "suspended",
  reopening: "loading",
  failed: "failed to load",
  stopped: "not loaded",
  unloaded: "not loaded",
};
const NOT_LOADED = "not loaded";

const models = {
  states: new Map(),  // by name, aliases too
  silent: new Set(),  // those that only make vectors
  entries: new Map(),  // what the list says of each: what it takes, and what it is for
  wanted: "",  // what the chat is set to
  seen: "",
  isKnown: false,
  onChoice: () => {},

  stateOf(name) {
    return STATES[this.states.get(name)] ?? this.states.get(name) ?? NOT_LOADED;
  },

  // Asks for the list, which has aliases too.
  async list() {
    const {data} = await gateway.get("/v1/models");
    this.states = new Map(data.map((one) => [one.id, one.state]));
    this.entries = new Map(data.map((one) => [one.id, one]));
    this.isKnown = true;
    this.show();
  },

  // Takes the rows of /status, which come every second; the list is asked for when they change.
  async heard(rows) {
    const seen = JSON.stringify(rows.map((row) => [row.name, row.state, row.generates, row.media]));
    if (seen === this.seen) return;
    this.silent = new Set(rows.filter((row) => row.generates === false).map((row) => row.name));
    await this.list();
    this.seen = seen;
  },

  // Whether a model answers about files of a kind; null where that is not known, before its first
  // load.
  takes(name, kind) {
    if (this.isMute(name)) return false;
    const entry = this.entries.get(name);
    if (entry?.architecture?.input_modalities.includes(kind)) return true;
    return entry?.meta ? false : null;
  },

  // Why a model takes no files of a kind, and what a person can do.
  whyNot(name, kind) {
    const [does, what] = kind === "image" ? ["sees", "images"] : ["hears", "sounds"];
    if (!name) return "No model is loaded: umad load FILE loads one.";
    if (this.takes(name, kind) === null) {
      return `Whether ${name} ${does} ${what} is known once it is loaded: Load, above, loads it.`;
    }
    const other = [...this.entries.keys()].find((one) => this.takes(one, kind));
    const hint = other ? `${other} does: choose it above.` : `No model that is loaded here ${does} any.`;
    return `${name} takes no ${what}. ${hint}`;
  },

  // The name of a model that turns speech into text; empty where there is none.
  get speech() {
    return [...this.entries.values()].find((one) => one.kind === "speech")?.id ?? "";
  },

  // Whether a model writes no answers.
  isMute(name) {
    return this.silent.has(name) || (this.entries.get(name)?.kind ?? "text") !== "text";
  },

  // Chooses a model for the chat that is shown. An empty name is the first that can answer.
  choose(name) {
    this.wanted = name;
    this.show();
  },

  get chosen() {
    return at("model").value;
  },

  show() {
    const names = [...this.states.keys()];
    const first = names.find((one) => this.stateOf(one) === "loaded" && !this.isMute(one));
    const chosen = this.wanted || first || names.find((one) => !this.isMute(one)) || names[0] || "";
    if (chosen && !names.includes(chosen)) names.push(chosen);
    const options = names.map((name) => {
      const isSpeech = this.entries.get(name)?.kind === "speech";
      const state = isSpeech ? "turns speech into text" : this.isMute(name) ? "makes vectors only" : this.stateOf(name);
      const option = new Option(state === "loaded" ? name : `${name} (${state})`, name);
      option.disabled = this.isMute(name) && name !== chosen;
      return option;
    });
    const shown = (all) => JSON.stringify(Array.from(all, (one) => [one.text, one.disabled]));
    // An open list would close if its rows were changed for the same ones.
    if (shown(options) !== shown(at("model").options)) at("model").replaceChildren(...options);
    at("model").value = chosen;
    const none = this.isKnown && !names.length;
    const state = none ? "no model is loaded" : chosen && this.stateOf(chosen);
    if (at("state").textContent !== state) at("state").textContent = state;
    at("state").dataset.state = none ? NOT_LOADED : state;
    box.showMeans(chosen);
    at("load").hidden = !chosen || ![NOT_LOADED, STATES.failed].includes(state);
  },

  async load() {
    const name = this.chosen;
    at("load").hidden = true;
    at("state").textContent = "loading";
    try {
      await gateway.post("/load", {model: name});
    } finally {
      this.seen = "";
      await this.list().catch(() => {});
    }
  },
};

at("model").addEventListener("change", () => {
  models.choose(at("model").value);
  models.onChoice(models.wanted);
});
