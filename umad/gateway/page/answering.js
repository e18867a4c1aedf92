"use strict";
// One question to the model, from its being sent to the end of its answer. It changes no chat:
// `result` says how it ended, and page.js decides what becomes of it.

// An answer is drawn anew once a frame. A long one takes longer, so it is drawn less often: drawing
// may take one part in so many of the time.
const DRAWING_SHARE = 8;
const FRAME_MS = 16;

class Answering {
  // `pending`: {typed, files, at, isRetry}, the text, the notes of its files, and the number of the
  // turn that it becomes.
  constructor(chat, pending, model) {
    this.chat = chat;
    this.pending = pending;
    this.model = model;
    this.said = "";
    this.thought = "";
    this.usage = null;
    this.reason = null;
    this.beganMs = 0;  // when its first piece came
    this.view = null;  // while its chat is shown
    this.timer = null;
    this.control = new AbortController();
  }

  get question() {
    const {typed, files: notes} = this.pending;
    return {role: "user", content: typed.trim(), ...(notes.length ? {files: notes} : {})};
  }

  async body() {
    const {chat, pending} = this;
    const said = await Promise.all([...chat.turns.slice(0, pending.at), this.question].map(messageOf));
    const system = chat.system.trim() ? [{role: "system", content: chat.system}] : [];
    return {
      model: this.model,
      messages: [...system, ...said],
      stream: true,
      stream_options: {include_usage: true},
      ...chat.parameters,
    };
  }

  // {answer} if it is to be kept, else {problem, partial}; problem is empty where a person stopped
  // it before it had said anything.
  async result() {
    try {
      for await (const piece of gateway.chat(await this.body(), this.control.signal)) {
        if (!this.beganMs && (piece.said || piece.thought)) this.beganMs = performance.now();
        this.said += piece.said;
        this.thought += piece.thought;
        this.reason = piece.reason ?? this.reason;
        this.usage = piece.usage ?? this.usage;
        if (piece.said || piece.thought) this.drawSoon();
      }
    } catch (error) {
      const isStopped = error.name === "AbortError";
      if (isStopped && this.said) return {answer: this.answer("stopped")};
      return {problem: isStopped ? "" : error.message, partial: this.said};
    } finally {
      clearTimeout(this.timer);
    }
    return {answer: this.answer(this.reason)};
  }

  answer(reason) {
    const tokens = this.usage?.completion_tokens ?? 0;
    const seconds = (performance.now() - this.beganMs) / 1000;
    return {
      role: "assistant",
      content: this.said,
      thought: this.thought,
      model: this.model,
      reason,
      tokens,
      perSecond: this.beganMs && tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0,
    };
  }

  stop() {
    this.control.abort();
  }

  // Shows it at the end of the conversation.
  showIn(conversation, deeds) {
    conversation.append(conversation.ofUser(this.question, this.pending.at, deeds));
    this.view = new TurnView("assistant", this.model);
    this.view.whole.setAttribute("aria-busy", "true");
    conversation.append(this.view);
    this.draw();
  }

  drawSoon() {
    if (this.timer !== null || !this.view) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.draw();
    }, this.pauseMs ?? 0);
  }

  draw(isWhole = false) {
    if (!this.view) return;
    const beganMs = performance.now();
    const isAtEnd = turns.isAtEnd;
    this.view.thinking(this.thought, !this.said);
    if (this.said || isWhole) this.view.answer(this.said, isWhole, speak);
    turns.toEnd(isAtEnd);
    this.pauseMs = Math.max(FRAME_MS, DRAWING_SHARE * (performance.now() - beganMs));
  }
}

// For those who listen: each paragraph once it is whole, instead of every token.
const speak = (text) => at("spoken").append(element("p", "", text));
