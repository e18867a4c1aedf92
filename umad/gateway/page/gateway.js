"use strict";
// Asks the gateway. Not: what is done with an answer, or with an error.

class Refusal extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;  // 0: no answer came
  }
}

const gateway = {
  key: "",
  onKeyWanted: () => {},

  async ask(path, options = {}) {
    // A form's type has a boundary in it, which the browser writes.
    const headers = options.body instanceof FormData ? {} : {"content-type": "application/json"};
    if (this.key) headers.authorization = `Bearer ${this.key}`;
    let answer;
    try {
      answer = await fetch(path, {...options, headers});
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("umad does not answer: is it running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) this.onKeyWanted();
    const said = await answer.json().catch(() => null);
    throw new Refusal(said?.error?.message ?? `${path} answered ${answer.status}`, answer.status);
  },

  async get(path) {
    return (await this.ask(path)).json();
  },

  async post(path, body) {
    return (await this.ask(path, {method: "POST", body: JSON.stringify(body)})).json();
  },

  // What is said in a recording.
  async transcribe(recording, signal) {
    const body = new FormData();
    body.append("file", recording, "recording.wav");
    return (await (await this.ask("/v1/audio/transcriptions", {method: "POST", body, signal})).json()).text;
  },

  // The pieces of an answer: {thought, said, reason, usage}. Throws a Refusal, however late it comes.
  async *chat(body, signal) {
    const options = {method: "POST", body: JSON.stringify(body), signal};
    const stream = (await this.ask("/v1/chat/completions", options)).body;
    let isWhole = false;
    try {
      for await (const data of eventsOf(stream)) {
        if (data === "[DONE]") {
          isWhole = true;
          continue;
        }
        const event = JSON.parse(data);
        if (event.error) throw new Refusal(event.error.message ?? "the answer failed");
        const choice = event.choices?.[0];
        yield {
          thought: choice?.delta?.reasoning_content ?? "",
          said: choice?.delta?.content ?? "",
          reason: choice?.finish_reason ?? null,
          usage: event.usage ?? null,
        };
      }
    } catch (error) {
      if (error instanceof Refusal || error.name === "AbortError") throw error;
      throw new Refusal("the connection to umad broke before the answer was whole");
    }
    if (!isWhole) throw new Refusal("the answer ended before it was whole");
  },
};

// Events are lines "data: …" with an empty line between; a read may end anywhere.
const eventsOf = async function* (body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
    }
  }
};
