// The completion core keeps to the table of cases that its twin in Python keeps to
// (tests/infill/test_cases.py reads the same file).

import assert from "node:assert/strict";
import { test } from "node:test";
import table from "../../infill-cases.json";
import { type Cut, cutAround } from "../src/infill/cut";
import { type Lines, mannerOf } from "../src/infill/manner";
import { type FimTokens, promptIds } from "../src/infill/prompt";
import { RecentAnswers } from "../src/infill/recent";
import { trimmed } from "../src/infill/trim";

// The cut at the cursor, which stands in `text` as |.
function cutOf(text: string): Cut {
  const at = text.indexOf("|");
  const before = text.slice(0, at);
  const lines = (before + text.slice(at + 1)).split("\n");
  const above = before.split("\n");
  return cutAround((line) => lines[line]!, lines.length, above.length - 1, above.at(-1)!.length);
}

const letters = async (text: string): Promise<number[]> => [...text].map((letter) => letter.codePointAt(0)!);

for (const one of table.cut) {
  test(`cut: ${one.says}`, () => {
    if (one.text !== undefined) {
      const cut = cutOf(one.text);
      assert.deepEqual([cut.before, cut.after], [one.before, one.after]);
      return;
    }
    let lookedAt = 0;
    const lineAt = (line: number): string => (lookedAt++, `line ${line}`);
    const cut = cutAround(lineAt, one.lines!, one.at![0]!, one.at![1]!);
    assert.equal(cut.before.split("\n")[0], one.first);
    assert.equal(cut.after.split("\n").at(-1), one.last);
    assert.ok(lookedAt <= 256 + 1 + 64, "work must not grow with the file");
  });
}

for (const one of table.endless) {
  test(`endless: ${one.says}`, () => {
    const line = "x".repeat(one.chars);
    assert.equal(cutAround(() => line, 1, 0, line.length).before.length, one.before_chars);
  });
}

test("endless: a character of two units is not cut in two", () => {
  const line = "😀".repeat(20_001);
  const cut = cutAround(() => line, 1, 0, line.length);
  assert.ok(cut.before.isWellFormed());
  assert.ok(cutAround(() => `x${line}`, 1, 0, 0).after.isWellFormed());
});

for (const one of table.manner) {
  test(`manner: ${one.says}`, () => {
    const manner = mannerOf(cutOf(one.text), (one.lines ?? "auto") as Lines, one.automatic ?? true);
    assert.equal(manner && (manner.isSingle ? "single" : "multi"), one.is);
  });
}

for (const one of table.trim) {
  test(`trim: ${one.says}`, () => {
    assert.equal(trimmed(one.answer, cutOf(one.text), one.single ?? false), one.shown);
  });
}

for (const one of table.recent) {
  test(`recent: ${one.says}`, () => {
    const recent = new RecentAnswers(one.most);
    for (const [text, answer] of one.keep) recent.keep("scope", cutOf(text!), answer!);
    for (const text of one.use ?? []) recent.find("scope", cutOf(text));
    for (const [text, answer] of one.then ?? []) recent.keep("scope", cutOf(text!), answer!);
    assert.equal(recent.find(one.scope ?? "scope", cutOf(one.find)), one.is);
  });
}

for (const one of table.prompt) {
  test(`prompt: ${one.says}`, async () => {
    const room = { cells: one.cells, nPredict: table.n_predict, name: one.name ?? "", project: one.project ?? "" };
    assert.deepEqual(await promptIds(one, one.marks as FimTokens, letters, room), one.ids);
  });
}

for (const one of table.window) {
  test(`window: ${one.says}`, async () => {
    const texts = { before: "b".repeat(one.before), after: "a".repeat(one.after) };
    const ids = await promptIds(texts, { prefix: -1, suffix: -2, middle: -3 }, letters, {
      cells: one.cells,
      nPredict: table.n_predict,
    });
    const count = (letter: string): number => ids.filter((id) => id === letter.codePointAt(0)).length;
    assert.deepEqual([count("b"), count("a")], [one.before_tokens, one.after_tokens]);
  });
}
