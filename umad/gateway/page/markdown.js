"use strict";
// Makes elements of Markdown. The lexer of marked (vendor/) parses it; this file decides what each
// token becomes. A model's text is never parsed as HTML: it goes in as text nodes only, raw HTML is
// shown as it was written, a link leads to the web or to a mail only, and an image becomes a link,
// so that nothing is loaded.

const LINK_SCHEMES = new Set(["http:", "https:", "mailto:"]);
const LEXER_OPTIONS = {gfm: true, breaks: true};
// A browser parses these entities only as HTML, and nothing here is parsed as HTML.
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®",
  hellip: "…", ndash: "–", mdash: "—", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”",
  bull: "•", middot: "·", times: "×", divide: "÷", deg: "°", larr: "←", rarr: "→", ne: "≠",
  le: "≤", ge: "≥", plusmn: "±", euro: "€",
};
const LAST_CODE_POINT = 0x10ffff;

const withoutEntities = (text) =>
  text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|(\w+));/gi, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole;
    const point = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    return point > 0 && point <= LAST_CODE_POINT ? String.fromCodePoint(point) : whole;
  });

// The address, if a person may follow it.
const allowedAddress = (text) => {
  try {
    const address = new URL(withoutEntities(text));
    return LINK_SCHEMES.has(address.protocol) ? address.toString() : null;
  } catch {
    return null;
  }
};

const link = (address, ...children) => {
  const allowed = allowedAddress(address);
  if (!allowed) return element("span", "", ...children);
  const made = element("a", "", ...children);
  made.href = allowed;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow";
  made.title = allowed;
  return made;
};

// -- pieces of a line ----------------------------------------------------------------------------

const INLINE = {
  text: (token) => (token.tokens ? inline(token.tokens) : [withoutEntities(token.text)]),
  escape: (token) => [token.text],
  strong: (token) => [element("strong", "", ...inline(token.tokens))],
  em: (token) => [element("em", "", ...inline(token.tokens))],
  del: (token) => [element("del", "", ...inline(token.tokens))],
  codespan: (token) => [element("code", "", token.text)],
  br: () => [element("br")],
  link: (token) => [link(token.href, ...inline(token.tokens))],
  image: (token) => [link(token.href, `[image: ${withoutEntities(token.text) || "no name"}]`)],
  checkbox: (token) => [token.checked ? "☑ " : "☐ "],
  // The one tag that has a meaning in a cell of a table, where a line cannot end.
  html: (token) => (/^<br\s*\/?>$/i.test(token.text) ? [element("br")] : [token.text]),
};

const inline = (tokens) =>
  tokens.flatMap((token) => (INLINE[token.type] ? INLINE[token.type](token) : [token.raw]));

// -- blocks: one element each --------------------------------------------------------------------

const codeBlock = (token) => {
  const code = element("code", "", token.text);
  const language = (token.lang ?? "").split(/\s/)[0];
  const frame = element("pre", "", code);
  frame.tabIndex = 0;  // it scrolls sideways, which needs the keyboard's focus
  frame.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  const head = element("div", "code-head", element("span", "", language || "code"),
    copyButton("Copy code", () => code.textContent));
  return element("div", "code", head, frame);
};

const table = (token) => {
  const cell = (tag) => (one) => {
    const made = element(tag, "", ...inline(one.tokens));
    if (one.align) made.classList.add(`to-${one.align}`);
    if (tag === "th") made.scope = "col";
    return made;
  };
  const body = token.rows.map((row) => element("tr", "", ...row.map(cell("td"))));
  const head = element("thead", "", element("tr", "", ...token.header.map(cell("th"))));
  const made = element("table", "", head, element("tbody", "", ...body));
  const frame = element("div", "table", made);
  frame.tabIndex = 0;
  return frame;
};

const list = (token) => {
  const items = token.items.map((item) => element("li", item.task ? "task" : "",
    ...item.tokens.flatMap((one) => (BLOCK[one.type] ? [BLOCK[one.type](one)] : inline([one])))));
  const made = element(token.ordered ? "ol" : "ul", "", ...items);
  if (token.ordered && Number.isSafeInteger(token.start)) made.start = token.start;
  return made;
};

const BLOCK = {
  // The page's own headings are the first two levels.
  heading: (token) => element(`h${Math.min(token.depth + 2, 6)}`, "", ...inline(token.tokens)),
  paragraph: (token) => element("p", "", ...inline(token.tokens)),
  code: codeBlock,
  blockquote: (token) => element("blockquote", "", ...blocksOf(token.tokens).map(block)),
  list,
  table,
  hr: () => element("hr"),
  html: (token) => element("p", "raw", token.text.trimEnd()),
};

const block = (token) =>
  BLOCK[token.type] ? BLOCK[token.type](token) : element("p", "", ...inline([token]));

const blocksOf = (tokens) => tokens.filter((one) => one.type !== "space" && one.type !== "def");

// One answer, which grows. Blocks that have not changed keep their elements, so that a selection in
// them stays and a long answer costs only its last block.
class MarkdownView {
  constructor(home, heard = () => {}) {
    this.home = home;
    this.blocks = [];
    this.heard = heard;
    this.nHeard = 0;
  }

  // `isWhole`: nothing more will come.
  show(text, isWhole = false) {
    let tokens;
    try {
      tokens = markdownLexer._Lexer.lex(text, {...LEXER_OPTIONS});
      this.update(blocksOf(tokens), isWhole && Object.keys(tokens.links).length > 0);
    } catch {  // nested more deeply than the stack
      this.blocks = [];
      this.home.replaceChildren(element("p", "raw", text));
    }
    const nWhole = isWhole ? this.home.children.length : this.home.children.length - 1;
    for (; this.nHeard < nWhole; this.nHeard += 1) {
      this.heard(this.home.children[this.nHeard].textContent);
    }
  }

  update(blocks, all) {
    let same = 0;
    const before = this.blocks;
    while (!all && same < before.length && before[same].raw === blocks[same]?.raw) same += 1;
    const grows = same === before.length - 1 && before[same].type === "code" &&
      blocks[same]?.type === "code" && before[same].lang === blocks[same].lang;
    if (grows) {
      this.home.children[same].querySelector("code").textContent = blocks[same].text;
      same += 1;
    }
    while (this.home.children.length > same) this.home.lastElementChild.remove();
    this.home.append(...blocks.slice(same).map(block));
    this.blocks = blocks;
  }
}
