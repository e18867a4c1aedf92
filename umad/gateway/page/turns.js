"use strict";
// The turns of a chat as they are seen. Not: what is asked, which is answering.js.

const NEAR_THE_END_PX = 80;
const REASONS = {length: "cut: no more tokens were allowed", stopped: "stopped"};

class TurnView {
  constructor(role, name) {
    this.said = element("div", role === "assistant" ? "said markdown" : "said");
    this.facts = element("p", "facts");
    this.deeds = element("div", "deeds");
    this.whole = element("article", "turn", element("div", "who", name), this.said, this.facts, this.deeds);
    this.whole.dataset.role = role;
    this.whole.setAttribute("aria-label", role === "user" ? "You" : `Answer of ${name}`);
    this.thought = null;
    this.isThinking = false;
    this.markdown = null;
  }

  text(text) {
    this.said.textContent = text;
  }

  // Open while there is nothing else to see; after that as a person wants it.
  thinking(text, isThinking) {
    if (!text) return;
    if (!this.thought) {
      this.thought = element("details", "thought", element("summary", "", "Thought"), element("div"));
      this.said.before(this.thought);
    }
    if (this.isThinking !== isThinking) this.thought.open = this.isThinking = isThinking;
    const shown = this.thought.lastElementChild;
    if (shown.textContent !== text) shown.textContent = text;
  }

  answer(text, isWhole, heard) {
    this.markdown ??= new MarkdownView(this.said, heard);
    this.markdown.show(text, isWhole);
  }

  // What is known once an answer is there: {reason, tokens, perSecond}.
  ended(facts = {}) {
    const words = [REASONS[facts.reason]];
    if (facts.tokens) words.push(`${facts.tokens} ${facts.tokens === 1 ? "token" : "tokens"}`);
    if (facts.perSecond) words.push(`${facts.perSecond.toFixed(1)} a second`);
    this.facts.textContent = words.filter(Boolean).join(" · ");
    if (!this.said.hasChildNodes()) this.said.append(element("p", "why", "(an empty answer)"));
    this.whole.removeAttribute("aria-busy");
    this.whole.dataset.done = "true";
  }
}

const turns = {
  get home() {
    return at("turns");
  },

  // The chat's turns before `upTo`. `deeds`: {edit, retry}, each given the turn's number.
  show(chat, upTo, deeds) {
    const views = chat.turns.slice(0, upTo).map((turn, number) =>
      turn.role === "user" ? this.ofUser(turn, number, deeds) : this.ofAnswer(turn, number, deeds));
    const hello = element("p", "hello", "Say something, and the model answers here.");
    this.home.replaceChildren(...(views.length ? views.map((view) => view.whole) : [hello]));
    this.toEnd(true);
  },

  ofUser({content: text, files: notes = []}, number, deeds) {
    const view = new TurnView("user", "You");
    view.text(text);
    view.said.hidden = !text;
    if (notes.length) view.said.before(listOfFiles(notes));
    view.deeds.append(deed("Edit", "Edit this message", () => deeds.edit(number)),
      copyButton("Copy this message", () => text));
    return view;
  },

  ofAnswer(turn, number, deeds) {
    const view = new TurnView("assistant", turn.model || "Answer");
    view.thinking(turn.thought, false);
    view.answer(turn.content, true);
    this.ended(view, turn, number, deeds);
    return view;
  },

  // The answer is there: what is known of it, and what can be done to it.
  ended(view, turn, number, deeds) {
    view.ended(turn);
    view.deeds.append(copyButton("Copy this answer", () => turn.content),
      deed("Retry", "Ask for this answer again", () => deeds.retry(number)));
  },

  append(view) {
    this.home.querySelector(".hello")?.remove();
    this.home.append(view.whole);
    this.toEnd(true);
  },

  get isAtEnd() {
    return this.home.scrollHeight - this.home.scrollTop - this.home.clientHeight < NEAR_THE_END_PX;
  },

  toEnd(isAtEnd) {
    if (isAtEnd) this.home.scrollTop = this.home.scrollHeight;
  },
};
