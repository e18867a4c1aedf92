// Takes a reply with its marks apart: the answer's text, the thinking, and calls of tools. It reads the
// forms that most models write: Hermes' (<tool_call> and JSON) and harmony's channels. Models of other
// families are told of Hermes' form by `turns.ts`. `umad.chat` (Python) reads every family's own.

export interface Call {
  name: string;
  input: object;
}

export type Part = { kind: "text" | "thinking"; text: string } | ({ kind: "call" } & Call);

export interface Format {
  family: string;
  // Opening and closing mark.
  thinking: readonly [string, string] | null;
}

export interface Reader {
  push(text: string): Part[];
  // What is left at the end.
  finish(): Part[];
}

export function readerOf(format: Format, tools: readonly string[]): Reader {
  return format.family === "harmony" ? new ChannelReader(tools) : new MarkReader(format.thinking, tools);
}

const CALL = "<tool_call>";
const CALL_END = "</tool_call>";

// Texts between marks. Blanks beside a mark belong to nobody.
class Texts {
  readonly parts: Part[] = [];
  #blanks = "";
  #isAtBeginning = true;

  add(kind: "text" | "thinking", text: string): void {
    if (this.#isAtBeginning) text = text.trimStart();
    if (!text) return;
    this.#isAtBeginning = false;
    text = this.#blanks + text;
    const said = text.trimEnd();
    this.#blanks = text.slice(said.length);
    if (said) this.parts.push({ kind, text: said });
  }

  mark(): void {
    this.#blanks = "";
    this.#isAtBeginning = true;
  }

  call(call: Call): void {
    this.mark();
    this.parts.push({ kind: "call", ...call });
  }

  take(): Part[] {
    return this.parts.splice(0);
  }
}

class MarkReader implements Reader {
  readonly #texts = new Texts();
  readonly #marks: string[];
  #held = "";
  #state: "text" | "thinking" | "call" = "text";

  constructor(
    private readonly thinking: readonly [string, string] | null,
    private readonly tools: readonly string[],
  ) {
    this.#marks = [...(thinking ?? []), ...(tools.length ? [CALL, CALL_END] : [])];
  }

  push(text: string): Part[] {
    this.#held += text;
    while (this.#step(false));
    return this.#texts.take();
  }

  finish(): Part[] {
    while (this.#step(true));
    // What looked like the beginning of a mark or of a call was none.
    const kind = this.#state === "thinking" ? "thinking" : "text";
    const rest = this.#state === "call" ? CALL + this.#held : this.#held;
    if (rest.trim() && this.#state !== "call") this.#texts.add(kind, withoutHalfMark(rest, this.#marks));
    this.#held = "";
    return this.#texts.take();
  }

  // Does one thing with what is held; false where more has to come first.
  #step(isEnd: boolean): boolean {
    if (this.#state === "call") return this.#readCall(isEnd);
    const kind = this.#state;
    const marks = kind === "thinking" ? [this.thinking![1]] : this.#marks;
    const [at, mark] = firstOf(this.#held, marks);
    if (mark === null) {
      const certain = this.#held.length - halfMark(this.#held, marks);
      this.#texts.add(kind, this.#held.slice(0, certain));
      this.#held = this.#held.slice(certain);
      return false;
    }
    this.#texts.add(kind, this.#held.slice(0, at));
    this.#held = this.#held.slice(at + mark.length);
    // Blanks before what turns out to be no call belong to the text.
    if (mark !== CALL) this.#texts.mark();
    if (mark === CALL) this.#state = "call";
    else if (mark === this.thinking?.[0]) this.#state = "thinking";
    else this.#state = "text";
    return true;
  }

  #readCall(isEnd: boolean): boolean {
    const end = jsonEnd(this.#held);
    if (end === 0 && !isEnd) return false;
    const call = end > 0 ? callOf(this.#held.slice(0, end), this.tools) : null;
    if (call !== null) {
      this.#texts.call(call);
      this.#held = this.#held.slice(end);
    } else if (end < 0 || (end > 0 && call === null)) {
      // No call: the words are text again, mark included.
      const close = this.#held.indexOf(CALL_END);
      if (close < 0 && !isEnd) return false;
      const words = close < 0 ? this.#held : this.#held.slice(0, close + CALL_END.length);
      this.#texts.add("text", CALL + words);
      this.#held = this.#held.slice(words.length);
    } else {
      return false; // cut off in a call
    }
    this.#state = "text";
    return true;
  }
}

const HARMONY = ["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"];

class ChannelReader implements Reader {
  readonly #texts = new Texts();
  #held = "";
  #header = "";
  // Where the next text belongs.
  #state: "header" | "text" | "thinking" | "call" | "nobody" = "text";
  #tool = "";

  constructor(private readonly tools: readonly string[]) {}

  push(text: string): Part[] {
    this.#held += text;
    while (this.#step());
    return this.#texts.take();
  }

  finish(): Part[] {
    while (this.#step());
    this.#add(withoutHalfMark(this.#held, HARMONY));
    this.#held = "";
    return this.#texts.take();
  }

  #step(): boolean {
    if (this.#state === "call") {
      const end = jsonEnd(this.#held);
      if (end === 0) return false;
      const input = end > 0 ? objectOf(this.#held.slice(0, end)) : null;
      if (input !== null) this.#texts.call({ name: this.#tool, input });
      this.#held = this.#held.slice(Math.max(0, end));
      this.#state = "nobody";
      return true;
    }
    const [at, mark] = firstOf(this.#held, HARMONY);
    const certain = mark === null ? this.#held.length - halfMark(this.#held, HARMONY) : at;
    this.#add(this.#held.slice(0, certain));
    this.#held = this.#held.slice(certain + (mark?.length ?? 0));
    if (mark === null) return false;
    this.#texts.mark();
    this.#turn(mark);
    return true;
  }

  #add(text: string): void {
    if (this.#state === "header") this.#header += text;
    else if (this.#state === "text" || this.#state === "thinking") this.#texts.add(this.#state, text);
  }

  #turn(mark: string): void {
    if (mark === "<|message|>") this.#begin();
    else if (mark === "<|start|>") [this.#state, this.#header] = ["header", ""];
    else if (mark === "<|channel|>" || mark === "<|constrain|>") {
      if (this.#state !== "header") this.#header = "";
      [this.#state, this.#header] = ["header", `${this.#header} ${mark === "<|channel|>" ? "#" : ""}`];
    } else this.#state = "nobody";
  }

  // A message begins: to whom it is says what it is.
  #begin(): void {
    const to = /\bto=(\S+)/.exec(this.#header)?.[1] ?? "";
    const channel = /#\s*(\w+)/.exec(this.#header)?.[1] ?? "final";
    const tool = to.replace(/^functions\./, "");
    this.#tool = tool;
    if (to && to !== "assistant") this.#state = this.tools.includes(tool) ? "call" : "nobody";
    else this.#state = channel === "analysis" ? "thinking" : "text";
    this.#header = "";
  }
}

function callOf(json: string, tools: readonly string[]): Call | null {
  const value = objectOf(json) as { name?: unknown; arguments?: unknown; parameters?: unknown } | null;
  if (value === null || typeof value.name !== "string" || !tools.includes(value.name)) return null;
  const given = value.arguments ?? value.parameters ?? {};
  // Some models encode the arguments twice.
  const input = typeof given === "string" ? objectOf(given) : given;
  return typeof input === "object" && input !== null ? { name: value.name, input } : null;
}

function objectOf(json: string): object | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

// The length of the JSON object at the beginning of `text`; 0 while it is incomplete, -1 where there is
// none.
function jsonEnd(text: string): number {
  const begins = text.search(/\S/);
  if (begins < 0) return 0;
  if (text[begins] !== "{") return -1;
  let depth = 0;
  let isInString = false;
  for (let at = begins; at < text.length; at++) {
    const char = text[at];
    if (isInString) {
      if (char === "\\") at++;
      else if (char === '"') isInString = false;
    } else if (char === '"') isInString = true;
    else if (char === "{" || char === "[") depth++;
    else if ((char === "}" || char === "]") && --depth === 0) return at + 1;
  }
  return 0;
}

function firstOf(text: string, marks: readonly string[]): [number, string | null] {
  let first: [number, string | null] = [text.length, null];
  for (const mark of marks) {
    const at = text.indexOf(mark);
    if (at >= 0 && at < first[0]) first = [at, mark];
  }
  return first;
}

// How much of the end of `text` may be the beginning of a mark.
function halfMark(text: string, marks: readonly string[]): number {
  let longest = 0;
  for (const mark of marks) {
    for (let length = Math.min(mark.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(mark.slice(0, length))) longest = length;
    }
  }
  return longest;
}

// One sign that people write is kept; more of a mark is none of the answer's text.
function withoutHalfMark(text: string, marks: readonly string[]): string {
  const half = halfMark(text, marks);
  return half > 1 ? text.slice(0, text.length - half) : text;
}
