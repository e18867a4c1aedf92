// The last answers, and one that still holds after more was typed: the twin of umad/infill/recent.py.

import type { Cut } from "./cut";

const MAX_ANSWERS = 256;
const MAX_WALK_CHARS = 256;
const BEFORE_CHARS = 1024;
const AFTER_CHARS = 256;

export class RecentAnswers {
  // A Map keeps the order in which its keys were set: the first is the least recently used.
  readonly #answers = new Map<string, string>();

  constructor(private readonly most = MAX_ANSWERS) {}

  keep(scope: string, cut: Cut, text: string): void {
    this.#use(placeOf(scope, cut.before, cut.after), text);
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= this.most) break;
      this.#answers.delete(oldest);
    }
  }

  // What is left to show of an answer; null where none holds.
  find(scope: string, cut: Cut): string | null {
    const longest = Math.min(MAX_WALK_CHARS, cut.before.length);
    for (let walked = 0; walked <= longest; walked++) {
      const end = cut.before.length - walked;
      const place = placeOf(scope, cut.before.slice(Math.max(0, end - BEFORE_CHARS), end), cut.after);
      const text = this.#answers.get(place);
      if (text === undefined || !text.startsWith(cut.before.slice(end)) || (walked > 0 && text.length === walked)) continue;
      this.#use(place, text);
      return text.slice(walked);
    }
    return null;
  }

  clear(): void {
    this.#answers.clear();
  }

  #use(place: string, text: string): void {
    this.#answers.delete(place);
    this.#answers.set(place, text);
  }
}

// JSON keeps the three apart, whatever they contain.
const placeOf = (scope: string, before: string, after: string): string =>
  JSON.stringify([scope, before.slice(-BEFORE_CHARS), after.slice(0, AFTER_CHARS)]);
