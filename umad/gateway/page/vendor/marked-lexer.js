/* The lexer of marked 18.2.1, a Markdown parser, without its writer of HTML. README.md beside this
   file says how it was built. Copyright (c) 2018+, MarkedJS; copyright (c) 2011-2018, Christopher
   Jeffrey. MIT, with the terms of Markdown by John Gruber: LICENSE-marked.txt beside this file. */
var markdownLexer = (() => {
  var __defProp = Object.defineProperty;
  var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
  var __getOwnPropNames = Object.getOwnPropertyNames;
  var __hasOwnProp = Object.prototype.hasOwnProperty;
  var __export = (target, all) => {
    for (var name in all)
      __defProp(target, name, { get: all[name], enumerable: true });
  };
  var __copyProps = (to, from, except, desc) => {
    if (from && typeof from === "object" || typeof from === "function") {
      for (let key of __getOwnPropNames(from))
        if (!__hasOwnProp.call(to, key) && key !== except)
          __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
    }
    return to;
  };
  var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

  // src/Lexer.ts
  var Lexer_exports = {};
  __export(Lexer_exports, {
    _Lexer: () => _Lexer
  });

  // src/defaults.ts
  function _getDefaults() {
    return {
      async: false,
      breaks: false,
      extensions: null,
      gfm: true,
      hooks: null,
      pedantic: false,
      renderer: null,
      silent: false,
      tokenizer: null,
      walkTokens: null
    };
  }
  var _defaults = _getDefaults();

  // src/rules.ts
  var noopTest = { exec: () => null };
  function cachedIndentRegex(createRegex) {
    const cache = [];
    return (indent) => {
      const cacheIndex = Math.max(0, Math.min(3, indent - 1));
      let regex = cache[cacheIndex];
      if (!regex) {
        regex = createRegex(cacheIndex);
        cache[cacheIndex] = regex;
      }
      return regex;
    };
  }
  function edit(regex, opt = "") {
    let source = typeof regex === "string" ? regex : regex.source;
    const obj = {
      replace: (name, val) => {
        let valSource = typeof val === "string" ? val : val.source;
        valSource = valSource.replace(other.caret, "$1");
        source = source.replace(name, valSource);
        return obj;
      },
      getRegex: () => {
        return new RegExp(source, opt);
      }
    };
    return obj;
  }
  var supportsLookbehind = ((a = "") => {
    try {
      return !!new RegExp("(?<=1)(?<!1)" + a);
    } catch {
      return false;
    }
  })();
  var other = {
    codeRemoveIndent: /^(?: {0,3}\t| {1,4})/gm,
    listInterruptsParagraph: /^ {0,3}(?:[*+-]|1[.)])[ \t]+[^ \t\n]/,
    outputLinkReplace: /\\([\[\]])/g,
    indentCodeCompensation: /^(\s+)(?:```)/,
    beginningSpace: /^\s+/,
    endingHash: /#$/,
    startingSpaceChar: /^ /,
    endingSpaceChar: / $/,
    endingSpaceTabChar: /[ \t]$/,
    nonSpaceChar: /[^ ]/,
    newLineCharGlobal: /\n/g,
    tabCharGlobal: /\t/g,
    leadingSpaceTab: /^[ \t]+/,
    multipleSpaceGlobal: /\s+/g,
    blankLine: /^[ \t]*$/,
    doubleBlankLine: /\n[ \t]*\n[ \t]*$/,
    blockquoteStart: /^ {0,3}>/,
    // Neutralize a lazy setext underline, including one with trailing tabs.
    // CommonMark §4.3 allows those tabs on a real underline, so the same class
    // has to be recognized here or a lazy `===\t` becomes a heading.
    blockquoteSetextReplace: /\n {0,3}((?:=+|-+)[ \t]*)(?=\n|$)/g,
    blockquoteSetextReplace2: /^ {0,3}>[ \t]?/gm,
    blockquoteMarkerWhitespace: /^( {0,3}>)(\t[ \t]*)/gm,
    nestedBlockMarker: /^ {0,3}(?:(?:[*+-]|\d{1,9}[.)])(?: |$)|> ?)/,
    listReplaceNesting: /^ {1,4}(?=( {4})*[^ ])/g,
    listIsTask: /^\[[ xX]\][ \t]+\S/,
    listReplaceTask: /^\[[ xX]\][ \t]+/,
    listTaskCheckbox: /\[[ xX]\]/,
    anyLine: /\n.*\n/,
    hrefBrackets: /^<(.*)>$/,
    tableDelimiter: /[:|]/,
    tableAlignChars: /^\||\| *$/g,
    tableRowBlankLine: /\n[ \t]*$/,
    tableAlignRight: /^ *-+: *$/,
    tableAlignCenter: /^ *:-+: *$/,
    tableAlignLeft: /^ *:-+ *$/,
    startATag: /^<a /i,
    endATag: /^<\/a>/i,
    startPreScriptTag: /^<(pre|code|kbd|script)(\s|>)/i,
    endPreScriptTag: /^<\/(pre|code|kbd|script)(\s|>)/i,
    startAngleBracket: /^</,
    endAngleBracket: />$/,
    pedanticHrefTitle: /^([^'"]*[^\s])\s+(['"])(.*)\2/,
    unicodeAlphaNumeric: /[\p{L}\p{N}]/u,
    numericCharacterReference: /&#(?:(\d{1,7})|[Xx]([A-Fa-f0-9]{1,6}));/,
    numericCharacterReferenceOrAmpersand: /&#(?:(\d{1,7})|[Xx]([A-Fa-f0-9]{1,6}));|&(?!(#\d{1,7}|#[Xx][a-fA-F0-9]{1,6}|\w+);)/g,
    escapeTest: /[&<>"']/,
    escapeReplace: /[&<>"']/g,
    escapeTestNoEncode: /[<>"']|&(?!(#\d{1,7}|#[Xx][a-fA-F0-9]{1,6}|\w+);)/,
    escapeReplaceNoEncode: /[<>"']|&(?!(#\d{1,7}|#[Xx][a-fA-F0-9]{1,6}|\w+);)/g,
    caret: /(^|[^\[])\^/g,
    percentDecode: /%25/g,
    findPipe: /\|/g,
    splitPipe: / \|/,
    slashPipe: /\\\|/g,
    carriageReturn: /\r\n|\r/g,
    spaceLine: /^ +$/gm,
    notSpaceStart: /^\S*/,
    endingNewline: /\n$/,
    listItemRegex: (bull) => new RegExp(`^( {0,3}${bull})((?:[	 ][^\\n]*)?(?:\\n|$))`),
    nextBulletRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}(?:[*+-]|\\d{1,9}[.)])((?:[ 	][^\\n]*)?(?:\\n|$))`)),
    hrRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}((?:-[ 	]*){3,}|(?:_[ 	]*){3,}|(?:\\*[ 	]*){3,})(?:\\n+|$)`)),
    fencesBeginRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}(?:\`\`\`|~~~)`)),
    // an ATX heading needs a space (or the end of the line) after the hashes, so a line
    // like `#tag` does not end a list item; pedantic mode accepts it as a heading
    headingBeginRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}#{1,6}(?:\\s|$)`)),
    pedanticHeadingBeginRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}#`)),
    // a list item ends where a paragraph would be interrupted, so this mirrors the
    // html start conditions in the paragraph rule below; type 7 is excluded there
    htmlBeginRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}(?:</?(?:${_tag})(?:[ \\t]+|$|/?>)|<(?:(?:script|pre|style|textarea)(?:[\\s>]|$)|!--)|<\\?|<![A-Za-z]|<!\\[CDATA\\[)`, "i")),
    blockquoteBeginRegex: cachedIndentRegex((indent) => new RegExp(`^ {0,${indent}}>`)),
    // list item and blockquote markers that open nested blocks at the start of a line, as in `- > # heading`
    nestedContainerMarkers: /^(?: {0,3}(?:(?:[*+-]|\d{1,9}[.)])[ \t]+|>[ \t]?))+/
  };
  var newline = /^(?:[ \t]*(?:\n|$))+/;
  var blockCode = /^((?: {4}| {0,3}\t)[^\n]+(?:\n(?:[ \t]*(?:\n|$))*)?)+/;
  var fences = /^ {0,3}(`{3,}(?=[^`\n]*(?:\n|$))|~{3,})([^\n]*)(?:\n|$)(?:|([\s\S]*?)(?:\n|$))(?: {0,3}(?:(?=`)\1`*|(?=~)\1~*) *(?=\n|$)|$)/;
  var hr = /^ {0,3}((?:-[\t ]*){3,}|(?:_[ \t]*){3,}|(?:\*[ \t]*){3,})(?:\n+|$)/;
  var heading = /^ {0,3}(#{1,6})(?=\s|$)(.*)(?:\n+|$)/;
  var bullet = / {0,3}(?:[*+-]|\d{1,9}[.)])/;
  var _tag = "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|menuitem|meta|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|track|ul";
  var _htmlInterrupt = edit(" {0,3}(?:</?(?:tag)(?:[ \\t]+|\\n|/?>)|<(?:(?:script|pre|style|textarea)(?:[\\s>]|$)|!--)|<\\?|<![A-Za-z]|<!\\[CDATA\\[)").replace("tag", _tag).getRegex();
  var lheadingCore = /^(?!bull |blockCode|fences|blockquote|heading|html|table)((?:.|\n(?!\s*?\n|bull |fences|blockquote|heading|hr|html|table))+?)\n {0,3}(=+|-+)[ \t]*(?:\n+|$)/;
  var lheading = edit(lheadingCore).replace(/bull/g, bullet).replace(/blockCode/g, /(?: {4}| {0,3}\t)/).replace(/fences/g, / {0,3}(?:`{3,}|~{3,})/).replace(/blockquote/g, / {0,3}>/).replace(/heading/g, / {0,3}#{1,6}(?:\s|$)/).replace(/hr/g, / {0,3}(?:(?:-[\t ]*){3,}|(?:_[ \t]*){3,}|(?:\*[ \t]*){3,})(?:\n+|$)/).replace(/\|table/g, "").replace(/html/g, _htmlInterrupt).getRegex();
  var lheadingGfm = edit(lheadingCore).replace(/bull/g, bullet).replace(/blockCode/g, /(?: {4}| {0,3}\t)/).replace(/fences/g, / {0,3}(?:`{3,}|~{3,})/).replace(/blockquote/g, / {0,3}>/).replace(/heading/g, / {0,3}#{1,6}(?:\s|$)/).replace(/hr/g, / {0,3}(?:(?:-[\t ]*){3,}|(?:_[ \t]*){3,}|(?:\*[ \t]*){3,})(?:\n+|$)/).replace(/table/g, / {0,3}\|?(?:[:\- ]*\|)+[\:\- ]*\n/).replace(/html/g, _htmlInterrupt).getRegex();
  var _paragraph = /^([^\n]+(?:\n(?!hr|heading|lheading|blockquote|fences|list|html|table|[ \t]+\n)[^\n]+)*)/;
  var blockText = /^[^\n]+/;
  var _blockLabel = /(?!\s*\])(?:\\[\s\S]|[^\[\]\\\n]|\n(?![ \t]*\n))+/;
  var def = edit(/^ {0,3}\[(label)\]: *(?:\n[ \t]*)?([^<\s][^\s]*|<(?:\\.|[^\n<>\\])*>)(?:(?: +(?:\n[ \t]*)?| *\n[ \t]*)(title))? *(?:\n+|$)/).replace("label", _blockLabel).replace("title", /(?:"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\\n]|\n(?!\n))*'|\((?:\\[\s\S]|[^()\\])*\))/).getRegex();
  var list = edit(/^(bull)([ \t][^\n]*?)?(?:\n|$)/).replace(/bull/g, bullet).getRegex();
  var _comment = /<!--(?:-?>|[\s\S]*?(?:-->|$))/;
  var html = edit(
    "^ {0,3}(?:<(script|pre|style|textarea)[\\s>][\\s\\S]*?(?:</\\1>[^\\n]*\\n*|$)|comment[^\\n]*(\\n+|$)|<\\?[\\s\\S]*?(?:\\?>[^\\n]*\\n*|$)|<![A-Z][\\s\\S]*?(?:>[^\\n]*\\n*|$)|<!\\[CDATA\\[[\\s\\S]*?(?:\\]\\]>[^\\n]*\\n*|$)|</?(tag)(?:[ \\t]+|\\n|/?>|$)[\\s\\S]*?(?:(?:\\n[ 	]*)+\\n|$)|<(?!(?:script|pre|style|textarea)(?![a-z0-9-]))([a-z][a-z0-9-]*)(?:attribute)*?[ \\t]*/?>(?=[ \\t]*(?:\\n|$))[\\s\\S]*?(?:(?:\\n[ 	]*)+\\n|$)|</[a-z][a-z0-9-]*\\s*>(?=[ \\t]*(?:\\n|$))[\\s\\S]*?(?:(?:\\n[ 	]*)+\\n|$))",
    "i"
  ).replace("comment", _comment).replace("tag", _tag).replace("attribute", /[ \t]+[a-zA-Z:_][\w.:-]*(?:[ \t]*=[ \t]*"[^"\n]*"|[ \t]*=[ \t]*'[^'\n]*'|[ \t]*=[ \t]*[^\s"'=<>`]+)?/).getRegex();
  var createParagraph = (listInterrupt) => edit(_paragraph).replace("hr", hr).replace("heading", " {0,3}#{1,6}(?:\\s|$)").replace("|lheading", "").replace("|table", "").replace("blockquote", " {0,3}>").replace("fences", " {0,3}(?:`{3,}(?=[^`\\n]*(?:\\n|$))|~~~)[^\\n]*(?:\\n|$)").replace("list", listInterrupt).replace("html", _htmlInterrupt).getRegex();
  var paragraph = createParagraph(/ {0,3}(?:[*+-]|1[.)])[ \t]+[^ \t\n]/);
  var blockquoteParagraph = createParagraph(/ {0,3}(?:[*+-]|\d{1,9}[.)])(?:[ \t]|\n|$)/);
  var blockquote = edit(/^( {0,3}> ?(?:(?![ \t]*(?:\n|$))(paragraph)|[^\n]*)(?:\n|$))+/).replace("paragraph", blockquoteParagraph).getRegex();
  var blockNormal = {
    blockquote,
    code: blockCode,
    def,
    fences,
    heading,
    hr,
    html,
    lheading,
    list,
    newline,
    paragraph,
    table: noopTest,
    text: blockText
  };
  var gfmTable = edit(
    "^ *([^\\n ].*)\\n {0,3}((?:\\| *)?:?-+:? *(?:\\| *:?-+:? *)*(?:\\| *)?)(?:\\n((?:(?! *\\n|hr|heading|blockquote|code|fences|list|html).*(?:\\n|$))*)\\n*|$)"
  ).replace("hr", hr).replace("heading", " {0,3}#{1,6}(?:\\s|$)").replace("blockquote", " {0,3}>").replace("code", "(?: {4}| {0,3}	)[^\\n]").replace("fences", " {0,3}(?:`{3,}(?=[^`\\n]*(?:\\n|$))|~~~)[^\\n]*(?:\\n|$)").replace("list", " {0,3}(?:[*+-]|1[.)])[ \\t]").replace("html", _htmlInterrupt).getRegex();
  var blockGfm = {
    ...blockNormal,
    lheading: lheadingGfm,
    table: gfmTable,
    paragraph: edit(_paragraph).replace("hr", hr).replace("heading", " {0,3}#{1,6}(?:\\s|$)").replace("|lheading", "").replace("table", gfmTable).replace("blockquote", " {0,3}>").replace("fences", " {0,3}(?:`{3,}(?=[^`\\n]*(?:\\n|$))|~~~)[^\\n]*(?:\\n|$)").replace("list", " {0,3}(?:[*+-]|1[.)])[ \\t]+[^ \\t\\n]").replace("html", _htmlInterrupt).getRegex()
  };
  var blockPedantic = {
    ...blockNormal,
    html: edit(
      `^ *(?:comment(?: *\\n|\\s*$)|<(tag)[\\s\\S]+?</\\1>(?: *\\n{2,}|\\s*$)|<tag(?:"[^"]*"|'[^']*'|\\s[^'"/>\\s]*)*?/?>(?: *\\n{2,}|\\s*$))`
    ).replace("comment", _comment).replace(/tag/g, "(?!(?:a|em|strong|small|s|cite|q|dfn|abbr|data|time|code|var|samp|kbd|sub|sup|i|b|u|mark|ruby|rt|rp|bdi|bdo|span|br|wbr|ins|del|img)\\b)\\w+(?!:|[^\\w\\s@]*@)\\b").getRegex(),
    def: /^ *\[([^\]]+)\]: *<?([^\s>]+)>?(?: +(["(][^\n]+[")]))? *(?:\n+|$)/,
    heading: /^(#{1,6})(.*)(?:\n+|$)/,
    fences: noopTest,
    // fences not supported
    lheading: /^(.+?)\n {0,3}(=+|-+) *(?:\n+|$)/,
    paragraph: edit(_paragraph).replace("hr", hr).replace("heading", " *#{1,6} *[^\n]").replace("|table", "").replace("blockquote", " {0,3}>").replace("|fences", "").replace("|list", "").replace("|html", "").replace("|tag", "").replace("lheading", lheading).getRegex()
  };
  var escape = /^\\([!"#$%&'()*+,\-./:;<=>?@\[\]\\^_`{|}~])/;
  var inlineCode = /^(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)/;
  var br = /^( {2,}|\\)\n(?!\s*$)[ \t]*/;
  var inlineText = /^(`+|[^`])(?:(?= {2,}\n)|[\s\S]*?(?:(?=[\\<!\[`*_]|\b_|$)|[^ ](?= {2,}\n)))/;
  var _punctuation = /[\p{P}\p{S}]/u;
  var _punctuationOrSpace = /[\s\p{P}\p{S}]/u;
  var _notPunctuationOrSpace = /[^\s\p{P}\p{S}]/u;
  var punctuation = edit(/^((?![*_])punctSpace)/, "u").replace(/punctSpace/g, _punctuationOrSpace).getRegex();
  var _openQuote = /[\p{Pi}\p{Ps}"']/u;
  var _punctuationGfmStrongEm = /(?!~)[\p{P}\p{S}]/u;
  var _punctuationOrSpaceGfmStrongEm = /(?!~)[\s\p{P}\p{S}]/u;
  var _notPunctuationOrSpaceGfmStrongEm = /(?:[^\s\p{P}\p{S}]|~)/u;
  var blockSkip = edit(/link|precode-code|html/, "g").replace("link", /\[(?:[^\[\]`]|(?<a>`+)[^`]+\k<a>(?!`))*?\]\((?:\\[\s\S]|[^\\\(\)]|\((?:\\[\s\S]|[^\\\(\)])*\))*\)/).replace("precode-", supportsLookbehind ? "(?<!`)()" : "(^^|[^`])").replace("code", /(?<b>`+)[^`]+\k<b>(?!`)/).replace("html", /<(?! )[^<>]*?>/).getRegex();
  var emStrongLDelimCore = /^(?:\*+(?:((?!\*)punct)|([^\s*]))?)|^_+(?:((?!_)punct)|([^\s_]))?/;
  var emStrongLDelim = edit(emStrongLDelimCore, "u").replace(/punct/g, _punctuation).getRegex();
  var emStrongLDelimGfm = edit(emStrongLDelimCore, "u").replace(/punct/g, _punctuationGfmStrongEm).getRegex();
  var emStrongLDelimPedanticCore = /^(?:\*+(?:((?!\*)(?!openQuote)punct)|([^\s*]))?)|^_+(?:((?!_)(?!openQuote)punct)|([^\s_]))?/;
  var emStrongLDelimPedantic = edit(emStrongLDelimPedanticCore, "u").replace(/openQuote/g, _openQuote).replace(/punct/g, _punctuation).getRegex();
  var emStrongRDelimAstCore = "^[^_*]*?__[^_*]*?\\*[^_*]*?(?=__)|[^*]+(?=[^*])|(?!\\*)punct(\\*+)(?=[\\s]|$)|notPunctSpace(\\*+)(?!\\*)(?=punctSpace|$)|(?!\\*)punctSpace(\\*+)(?=notPunctSpace)|[\\s](\\*+)(?!\\*)(?=punct)|(?!\\*)punct(\\*+)(?!\\*)(?=punct)|notPunctSpace(\\*+)(?=notPunctSpace)";
  var emStrongRDelimAst = edit(emStrongRDelimAstCore, "gu").replace(/notPunctSpace/g, _notPunctuationOrSpace).replace(/punctSpace/g, _punctuationOrSpace).replace(/punct/g, _punctuation).getRegex();
  var emStrongRDelimAstGfm = edit(emStrongRDelimAstCore, "gu").replace(/notPunctSpace/g, _notPunctuationOrSpaceGfmStrongEm).replace(/punctSpace/g, _punctuationOrSpaceGfmStrongEm).replace(/punct/g, _punctuationGfmStrongEm).getRegex();
  var emStrongRDelimAstPedanticCore = "^[^_*]*?__[^_*]*?\\*[^_*]*?(?=__)|[^*]+(?=[^*])|(?!\\*)punct(\\*+)(?=[\\s]|$)|notPunctSpace(\\*+)(?!\\*)(?=punctSpace|$)|(?!\\*)[\\s](\\*+)(?=notPunctSpace)|[\\s](\\*+)(?!\\*)(?=punct)|(?!\\*)punct(\\*+)(?!\\*)(?=punct)|(?:(?!\\*)punct|notPunctSpace)(\\*+)(?!\\*)(?=notPunctSpace)";
  var emStrongRDelimAstPedantic = edit(emStrongRDelimAstPedanticCore, "gu").replace(/notPunctSpace/g, _notPunctuationOrSpace).replace(/punctSpace/g, _punctuationOrSpace).replace(/punct/g, _punctuation).getRegex();
  var emStrongRDelimUnd = edit(
    "^[^_*]*?\\*\\*[^_*]*?_[^_*]*?(?=\\*\\*)|[^_]+(?=[^_])|(?!_)punct(_+)(?=[\\s]|$)|notPunctSpace(_+)(?!_)(?=punctSpace|$)|(?!_)punctSpace(_+)(?=notPunctSpace)|[\\s](_+)(?!_)(?=punct)|(?!_)punct(_+)(?!_)(?=punct)",
    "gu"
  ).replace(/notPunctSpace/g, _notPunctuationOrSpace).replace(/punctSpace/g, _punctuationOrSpace).replace(/punct/g, _punctuation).getRegex();
  var emStrongRDelimUndPedanticCore = "^[^_*]*?\\*\\*[^_*]*?_[^_*]*?(?=\\*\\*)|[^_]+(?=[^_])|(?!_)punct(_+)(?=[\\s]|$)|notPunctSpace(_+)(?!_)(?=punctSpace|$)|(?!_)[\\s](_+)(?=notPunctSpace)|[\\s](_+)(?!_)(?=punct)|(?!_)punct(_+)(?!_)(?=punct)|(?:(?!_)punct|notPunctSpace)(_+)(?!_)(?=notPunctSpace)";
  var emStrongRDelimUndPedantic = edit(emStrongRDelimUndPedanticCore, "gu").replace(/notPunctSpace/g, _notPunctuationOrSpace).replace(/punctSpace/g, _punctuationOrSpace).replace(/punct/g, _punctuation).getRegex();
  var delLDelim = edit(/^~~?(?:((?!~)punct)|[^\s~])/, "u").replace(/punct/g, _punctuation).getRegex();
  var delRDelimCore = "^[^~]+(?=[^~])|(?!~)punct(~~?)(?=[\\s]|$)|notPunctSpace(~~?)(?!~)(?=punctSpace|$)|(?!~)punctSpace(~~?)(?=notPunctSpace)|[\\s](~~?)(?!~)(?=punct)|(?!~)punct(~~?)(?!~)(?=punct)|notPunctSpace(~~?)(?=notPunctSpace)";
  var delRDelim = edit(delRDelimCore, "gu").replace(/notPunctSpace/g, _notPunctuationOrSpace).replace(/punctSpace/g, _punctuationOrSpace).replace(/punct/g, _punctuation).getRegex();
  var anyPunctuation = edit(/\\(punct)/, "gu").replace(/punct/g, _punctuation).getRegex();
  var anyPunctuationOutsideCode = edit(/(`+)(?:[^`]|[^`][\s\S]*?[^`])\1(?!`)|`+|\\(punct)/, "gu").replace(/punct/g, _punctuation).getRegex();
  var autolink = edit(/^<(scheme:[^\s\x00-\x1f<>]*|email)>/).replace("scheme", /[a-zA-Z][a-zA-Z0-9+.-]{1,31}/).replace("email", /[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+(@)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+(?![-_])/).getRegex();
  var _inlineComment = edit(_comment).replace("(?:-->|$)", "-->").getRegex();
  var tag = edit(
    "^comment|^</[a-zA-Z][a-zA-Z0-9-]*\\s*>|^<[a-zA-Z][a-zA-Z0-9-]*(?:attribute)*?\\s*/?>|^<\\?[\\s\\S]*?\\?>|^<![a-zA-Z]+\\s[\\s\\S]*?>|^<!\\[CDATA\\[[\\s\\S]*?\\]\\]>"
  ).replace("comment", _inlineComment).replace("attribute", /\s+[a-zA-Z:_][\w.:-]*(?:\s*=\s*"[^"]*"|\s*=\s*'[^']*'|\s*=\s*[^\s"'=<>`]+)?/).getRegex();
  var _inlineLabelBrackets = /\[(?:\\[\s\S]|[^\[\]\\])*\]/;
  var _inlineLabel = edit(/(?:\[(?:brackets|\\[\s\S]|[^\[\]\\])*\]|\\[\s\S]|`+(?!`)[^`]*?`+(?!`)|``+(?=\])|[^\[\]\\`])*?/).replace("brackets", _inlineLabelBrackets).getRegex();
  var link = edit(/^!?\[(label)\]\([ \t\n]*(href)(?:(?:[ \t]+(?:\n[ \t]*)?|\n[ \t]*)(title))?[ \t\n]*\)/).replace("label", _inlineLabel).replace("href", /<(?:\\.|[^\n<>\\])*>|(?!<)[^ \t\n\x00-\x1f]+|(?=\))/).replace("title", /"(?:\\[\s\S]|[^"\\])*"|'(?:\\[\s\S]|[^'\\])*'|\((?:\\[\s\S]|[^)\\])*\)/).getRegex();
  var reflink = edit(/^!?\[(label)\]\[(ref)\]/).replace("label", _inlineLabel).replace("ref", _blockLabel).getRegex();
  var nolink = edit(/^!?\[(ref)\](?:\[\])?/).replace("ref", _blockLabel).getRegex();
  var _boundedBlockLabel = /(?!\s*\])(?:\\[\s\S]|[^\[\]\\]){1,999}/;
  var _boundedInlineLabel = edit(/(?:[^\[\]\\`]*(?:\[(?:brackets|\\[\s\S]|[^\[\]\\])*\]|\\[\s\S]|`+(?!`)[^`]*?`+(?!`)|``+(?=\]))){0,999}?[^\[\]\\`]*?/).replace("brackets", _inlineLabelBrackets).getRegex();
  var reflinkSearch = edit("reflink|nolink(?!\\()", "g").replace("reflink", edit(/^!?\[(label)\]\[(ref)\]/).replace("label", _boundedInlineLabel).replace("ref", _boundedBlockLabel).getRegex()).replace("nolink", edit(/^!?\[(ref)\](?:\[\])?/).replace("ref", _boundedBlockLabel).getRegex()).getRegex();
  var _caseInsensitiveProtocol = /[hH][tT][tT][pP][sS]?|[fF][tT][pP]/;
  var _extendedEmail = /[A-Za-z0-9._+-]+@[a-zA-Z0-9-_]+(?:\.[a-zA-Z0-9-_]*[a-zA-Z0-9])+(?![\w-])/;
  var _extendedEmailProtocol = edit(/(?:mailto:email|xmpp:email(?:\/[A-Za-z0-9@.]+)?)/).replace(/email/g, _extendedEmail).getRegex();
  var inlineNormal = {
    _backpedal: noopTest,
    // only used for GFM url
    anyPunctuation,
    anyPunctuationOutsideCode,
    autolink,
    blockSkip,
    br,
    code: inlineCode,
    del: noopTest,
    delLDelim: noopTest,
    delRDelim: noopTest,
    emStrongLDelim,
    emStrongRDelimAst,
    emStrongRDelimUnd,
    escape,
    link,
    nolink,
    punctuation,
    reflink,
    reflinkSearch,
    tag,
    text: inlineText,
    a: noopTest
  };
  var inlinePedantic = {
    ...inlineNormal,
    emStrongLDelim: emStrongLDelimPedantic,
    emStrongRDelimAst: emStrongRDelimAstPedantic,
    emStrongRDelimUnd: emStrongRDelimUndPedantic,
    link: edit(/^!?\[(label)\]\((.*?)\)/).replace("label", _inlineLabel).getRegex(),
    reflink: edit(/^!?\[(label)\]\s*\[([^\]]*)\]/).replace("label", _inlineLabel).getRegex()
  };
  var inlineGfm = {
    ...inlineNormal,
    emStrongRDelimAst: emStrongRDelimAstGfm,
    emStrongLDelim: emStrongLDelimGfm,
    delLDelim,
    delRDelim,
    a: edit(/^emailProtocol|^((?:protocol):\/\/|www\.)(?:[a-zA-Z0-9\-]+\.?)+[^\s<]*|^email/).replace("emailProtocol", _extendedEmailProtocol).replace("protocol", _caseInsensitiveProtocol).replace("email", /[A-Za-z0-9._+-]+(@)[a-zA-Z0-9-_]+(?:\.[a-zA-Z0-9-_]*[a-zA-Z0-9])+(?![\w-])/).getRegex(),
    _backpedal: /(?:[^?!.,:;*_'"~()&]+|\([^)]*\)|&(?![a-zA-Z0-9]+;$)|[?!.,:;*_'"~)]+(?!$))+/,
    del: /^(~~?)(?=[^\s~])((?:\\[\s\S]|[^\\])*?(?:\\[\s\S]|[^\s~\\]))\1(?=[^~]|$)/,
    text: edit(/^(?:[^a-zA-Z0-9](?=emailProtocol)|(`+|~+|[^`~])(?:(?=[`~])|(?= {2,}\n)|(?=[a-zA-Z0-9.!#$%&'*+\/=?_`{\|}~-]+@)|[\s\S]*?(?:(?=[\\<!\[`*~_]|\b_|protocol:\/\/|wwwStart|$)|[^ ](?= {2,}\n)|[^a-zA-Z0-9](?=emailProtocol)|[^a-zA-Z0-9.!#$%&'*+\/=?_`{\|}~-](?=[a-zA-Z0-9.!#$%&'*+\/=?_`{\|}~-]+@))))/).replace("protocol", _caseInsensitiveProtocol).replace(/emailProtocol/g, /(?:mailto|xmpp):/).replace("wwwStart", supportsLookbehind ? "(?<![^\\s*_~(])www\\." : "www\\.").getRegex()
  };
  var inlineBreaks = {
    ...inlineGfm,
    br: edit(br).replace("{2,}", "*").getRegex(),
    text: edit(inlineGfm.text).replace("\\b_", "\\b_| {2,}\\n").replace(/\{2,\}/g, "*").getRegex()
  };
  var block = {
    normal: blockNormal,
    gfm: blockGfm,
    pedantic: blockPedantic
  };
  var inline = {
    normal: inlineNormal,
    gfm: inlineGfm,
    breaks: inlineBreaks,
    pedantic: inlinePedantic
  };

  // src/helpers.ts
  function decodeNumericCharacterReferences(text) {
    if (!other.numericCharacterReference.test(text)) {
      return text;
    }
    return text.replace(other.numericCharacterReferenceOrAmpersand, (ref, dec, hex) => {
      if (dec === void 0 && hex === void 0) {
        return "&amp;";
      }
      const code = dec === void 0 ? Number.parseInt(hex, 16) : Number.parseInt(dec, 10);
      if (code === 0 || code > 1114111 || code >= 55296 && code <= 57343) {
        return "\uFFFD";
      }
      return code === 38 ? "&amp;" : String.fromCodePoint(code);
    });
  }
  function splitCells(tableRow, count) {
    const row = tableRow.replace(other.findPipe, (match, offset, str) => {
      let escaped = false;
      let curr = offset;
      while (--curr >= 0 && str[curr] === "\\") escaped = !escaped;
      if (escaped) {
        return "|";
      } else {
        return " |";
      }
    }), cells = row.split(other.splitPipe);
    let i = 0;
    if (!cells[0].trim()) {
      cells.shift();
    }
    if (cells.length > 0 && !cells.at(-1)?.trim()) {
      cells.pop();
    }
    if (count) {
      if (cells.length > count) {
        cells.splice(count);
      } else {
        while (cells.length < count) cells.push("");
      }
    }
    for (; i < cells.length; i++) {
      cells[i] = cells[i].trim().replace(other.slashPipe, "|");
    }
    return cells;
  }
  function rtrim(str, c, invert) {
    const l = str.length;
    if (l === 0) {
      return "";
    }
    let suffLen = 0;
    while (suffLen < l) {
      const currChar = str.charAt(l - suffLen - 1);
      if (currChar === c && !invert) {
        suffLen++;
      } else if (currChar !== c && invert) {
        suffLen++;
      } else {
        break;
      }
    }
    return str.slice(0, l - suffLen);
  }
  function trimTrailingBlankLines(str) {
    const lines = str.split("\n");
    let end = lines.length - 1;
    while (end >= 0 && other.blankLine.test(lines[end])) {
      end--;
    }
    if (lines.length - end <= 2) {
      return str;
    }
    return lines.slice(0, end + 1).join("\n");
  }
  function normalizeLabel(label) {
    return label.trim().replace(other.multipleSpaceGlobal, " ").toLowerCase().toUpperCase().toLowerCase();
  }
  function findClosingBracket(str, b) {
    if (str.indexOf(b[0]) === -1 && str.indexOf(b[1]) === -1) {
      return -1;
    }
    let level = 0;
    for (let i = 0; i < str.length; i++) {
      if (str[i] === "\\") {
        i++;
      } else if (str[i] === b[0]) {
        level++;
      } else if (str[i] === b[1]) {
        level--;
        if (level < 0) {
          return i;
        }
      }
    }
    if (level > 0) {
      return -2;
    }
    return -1;
  }
  var emStrongDelCloserHintStacks = /* @__PURE__ */ new WeakMap();
  function scanLastPossibleEmStrongDelClosers(src) {
    const lastPossibleEmStrongCloserIndex = { "*": -1, _: -1 };
    let lastPossibleDelCloserIndex = -1;
    const len = src.length;
    for (let i = 0; i < len; i++) {
      const ch = src[i];
      if (ch !== "*" && ch !== "_" && ch !== "~") {
        continue;
      }
      const prev = i === 0 ? "\n" : src[i - 1];
      let j = i + 1;
      while (j < len && src[j] === ch) {
        j++;
      }
      if (prev !== " " && prev !== "	" && prev !== "\n" && prev !== "\r" && prev !== "\f") {
        if (ch === "~") {
          lastPossibleDelCloserIndex = i;
        } else {
          lastPossibleEmStrongCloserIndex[ch] = i;
        }
      }
      i = j - 1;
    }
    return {
      maskedSrc: src,
      lastPossibleEmStrongCloserIndex,
      lastPossibleDelCloserIndex
    };
  }
  function beginEmStrongDelCloserScan(tokenizer, maskedSrc) {
    const frame = scanLastPossibleEmStrongDelClosers(maskedSrc);
    const stack = emStrongDelCloserHintStacks.get(tokenizer);
    if (stack) {
      stack.push(frame);
    } else {
      emStrongDelCloserHintStacks.set(tokenizer, [frame]);
    }
  }
  function endEmStrongDelCloserScan(tokenizer) {
    const stack = emStrongDelCloserHintStacks.get(tokenizer);
    if (!stack) {
      return;
    }
    stack.pop();
    if (stack.length === 0) {
      emStrongDelCloserHintStacks.delete(tokenizer);
    }
  }
  function cachedLastPossibleEmStrongCloserIndex(tokenizer, maskedSrc, delim) {
    const frame = emStrongDelCloserHintStacks.get(tokenizer)?.at(-1);
    if (frame && frame.maskedSrc === maskedSrc) {
      return frame.lastPossibleEmStrongCloserIndex[delim];
    }
    return scanLastPossibleEmStrongDelClosers(maskedSrc).lastPossibleEmStrongCloserIndex[delim];
  }
  function cachedLastPossibleDelCloserIndex(tokenizer, maskedSrc) {
    const frame = emStrongDelCloserHintStacks.get(tokenizer)?.at(-1);
    if (frame && frame.maskedSrc === maskedSrc) {
      return frame.lastPossibleDelCloserIndex;
    }
    return scanLastPossibleEmStrongDelClosers(maskedSrc).lastPossibleDelCloserIndex;
  }
  function expandTabs(line, indent = 0) {
    let col = indent;
    let expanded = "";
    for (const char of line) {
      if (char === "	") {
        const added = 4 - col % 4;
        expanded += " ".repeat(added);
        col += added;
      } else {
        expanded += char;
        col++;
      }
    }
    return expanded;
  }

  // src/Tokenizer.ts
  function unescapeLinkLabel(label, rules) {
    let result = "";
    for (let i = 0; i < label.length; i++) {
      if (label[i] === "`") {
        const code = rules.inline.code.exec(label.slice(i));
        if (code) {
          result += code[0];
          i += code[0].length - 1;
          continue;
        }
      }
      if (label[i] === "\\" && (label[i + 1] === "[" || label[i + 1] === "]")) {
        result += label[i + 1];
        i++;
        continue;
      }
      result += label[i];
    }
    return result;
  }
  function outputLink(cap, link2, raw, lexer, rules) {
    const href = link2.href;
    const title = link2.title || null;
    const text = unescapeLinkLabel(cap[1], rules);
    const isImage = cap[0].charAt(0) === "!";
    const outerInLink = lexer.state.inLink;
    const outerLinkEmitted = lexer.state.linkEmitted;
    const outerInRawBlock = lexer.state.inRawBlock;
    lexer.state.inLink = true;
    lexer.state.linkEmitted = false;
    const tokens = lexer.inlineTokens(text);
    const textHasLink = lexer.state.linkEmitted;
    lexer.state.linkEmitted = outerLinkEmitted;
    lexer.state.inLink = outerInLink;
    if (!isImage) {
      if (textHasLink) {
        lexer.state.inRawBlock = outerInRawBlock;
        return;
      }
      lexer.state.linkEmitted = true;
    }
    return {
      type: isImage ? "image" : "link",
      raw,
      href,
      title,
      text,
      tokens
    };
  }
  function indentCodeCompensation(raw, text, rules) {
    const matchIndentToCode = raw.match(rules.other.indentCodeCompensation);
    if (matchIndentToCode === null) {
      return text;
    }
    const indentToCode = matchIndentToCode[1];
    return text.split("\n").map((node) => {
      const matchIndentInNode = node.match(rules.other.beginningSpace);
      if (matchIndentInNode === null) {
        return node;
      }
      const [indentInNode] = matchIndentInNode;
      return node.slice(Math.min(indentInNode.length, indentToCode.length));
    }).join("\n");
  }
  function isLabelEndInsideToken(src, label, labelStart, rules) {
    if (!label.includes("<")) {
      return false;
    }
    for (let i = 0; i < label.length; i++) {
      if (label[i] === "\\") {
        i++;
        continue;
      }
      if (label[i] === "`") {
        const code = rules.inline.code.exec(label.slice(i));
        if (code) {
          i += code[0].length - 1;
          continue;
        }
      }
      if (label[i] !== "<") {
        continue;
      }
      const tokenSrc = src.slice(labelStart + i);
      const token = rules.inline.tag.exec(tokenSrc) || rules.inline.autolink.exec(tokenSrc);
      if (!token) {
        continue;
      }
      if (token[0].length > label.length - i) {
        return true;
      }
      i += token[0].length - 1;
    }
    return false;
  }
  var _Tokenizer = class {
    options;
    rules;
    // set by the lexer
    lexer;
    // set by the lexer
    constructor(options) {
      this.options = options || _defaults;
    }
    space(src) {
      const cap = this.rules.block.newline.exec(src);
      if (cap && cap[0].length > 0) {
        return {
          type: "space",
          raw: cap[0]
        };
      }
    }
    code(src) {
      const cap = this.rules.block.code.exec(src);
      if (cap) {
        const raw = this.options.pedantic ? cap[0] : trimTrailingBlankLines(cap[0]);
        const text = raw.replace(this.rules.other.codeRemoveIndent, "");
        return {
          type: "code",
          raw,
          codeBlockStyle: "indented",
          text
        };
      }
    }
    fences(src) {
      const cap = this.rules.block.fences.exec(src);
      if (cap) {
        const raw = cap[0];
        let text = indentCodeCompensation(raw, cap[3] || "", this.rules);
        if (cap[3] !== void 0 && (text === "" || text.endsWith("\n"))) {
          text += "\n";
        }
        return {
          type: "code",
          raw,
          lang: cap[2] ? cap[2].trim().replace(this.rules.inline.anyPunctuation, "$1") : cap[2],
          text
        };
      }
    }
    heading(src) {
      const cap = this.rules.block.heading.exec(src);
      if (cap) {
        let text = cap[2].trim();
        if (this.rules.other.endingHash.test(text)) {
          const trimmed = rtrim(text, "#");
          if (this.options.pedantic) {
            text = trimmed.trim();
          } else if (!trimmed || this.rules.other.endingSpaceTabChar.test(trimmed)) {
            text = trimmed.trim();
          }
        }
        return {
          type: "heading",
          raw: rtrim(cap[0], "\n"),
          depth: cap[1].length,
          text,
          tokens: this.lexer.inline(text)
        };
      }
    }
    hr(src) {
      const cap = this.rules.block.hr.exec(src);
      if (cap) {
        return {
          type: "hr",
          raw: rtrim(cap[0], "\n")
        };
      }
    }
    blockquote(src) {
      const cap = this.rules.block.blockquote.exec(src);
      if (cap) {
        let lines = rtrim(cap[0], "\n").split("\n");
        let raw = "";
        let text = "";
        const tokens = [];
        while (lines.length > 0) {
          let inBlockquote = false;
          const currentLines = [];
          let i;
          for (i = 0; i < lines.length; i++) {
            if (this.rules.other.blockquoteStart.test(lines[i])) {
              currentLines.push(lines[i]);
              inBlockquote = true;
            } else if (!inBlockquote) {
              currentLines.push(lines[i]);
            } else {
              break;
            }
          }
          lines = lines.slice(i);
          const currentRaw = currentLines.join("\n");
          const currentText = currentRaw.replace(
            this.rules.other.blockquoteMarkerWhitespace,
            (_, marker, whitespace) => {
              if (whitespace.startsWith(" ")) {
                return marker + " " + whitespace.slice(1);
              }
              return marker + expandTabs(whitespace, marker.length);
            }
          ).replace(this.rules.other.blockquoteSetextReplace, "\n    $1").replace(this.rules.other.blockquoteSetextReplace2, "");
          raw = raw ? `${raw}
${currentRaw}` : currentRaw;
          text = text ? `${text}
${currentText}` : currentText;
          const top = this.lexer.state.top;
          this.lexer.state.top = true;
          this.lexer.blockTokens(currentText, tokens, true);
          this.lexer.state.top = top;
          if (lines.length === 0) {
            break;
          }
          const lastToken = tokens.at(-1);
          if (lastToken?.type === "code" || lastToken?.type === "heading" || lastToken?.type === "hr" || lastToken?.type === "html" || lastToken?.type === "table") {
            break;
          } else if (lastToken?.type === "blockquote") {
            const oldToken = lastToken;
            const continuation = lines.join("\n");
            const newText = oldToken.raw + "\n" + continuation.replace(this.rules.other.blockquoteSetextReplace2, "");
            const newToken = this.blockquote(newText);
            tokens[tokens.length - 1] = newToken;
            const leftover = newText.substring(newToken.raw.length).replace(/^\n/, "");
            const leftoverCount = leftover ? leftover.split("\n").length : 0;
            const consumed = leftoverCount ? lines.slice(0, -leftoverCount) : lines;
            if (consumed.length > 0) {
              raw = `${raw}
${consumed.join("\n")}`;
            }
            text = text.substring(0, text.length - oldToken.text.length) + newToken.text;
            lines = lines.slice(consumed.length);
            if (lines.length > 0 && this.rules.other.blockquoteStart.test(lines[0])) {
              continue;
            }
            break;
          } else if (lastToken?.type === "list") {
            const oldToken = lastToken;
            const newText = oldToken.raw + "\n" + lines.join("\n");
            const newToken = this.list(newText);
            tokens[tokens.length - 1] = newToken;
            const consumedCount = newToken.raw.length > oldToken.raw.length ? newText.slice(oldToken.raw.length + 1, newToken.raw.length).split("\n").length : 0;
            if (consumedCount > 0) {
              const consumed = lines.slice(0, consumedCount).join("\n");
              raw = `${raw}
${consumed}`;
              text = `${text}
${consumed}`;
            }
            lines = lines.slice(consumedCount);
            if (lines.length > 0 && !this.rules.other.blockquoteStart.test(lines[0])) {
              break;
            }
            continue;
          }
        }
        return {
          type: "blockquote",
          raw,
          tokens,
          text
        };
      }
    }
    list(src) {
      let cap = this.rules.block.list.exec(src);
      if (cap) {
        if (!this.options.pedantic && this.lexer.state.lastToken?.type === "text" && !this.rules.other.listInterruptsParagraph.test(src)) {
          return;
        }
        const listSrc = src;
        const taken = () => listSrc.length - src.length;
        let bull = cap[1].trim();
        const isordered = bull.length > 1;
        const list2 = {
          type: "list",
          raw: "",
          ordered: isordered,
          start: isordered ? +bull.slice(0, -1) : "",
          loose: false,
          items: []
        };
        bull = isordered ? `\\d{1,9}\\${bull.slice(-1)}` : `\\${bull}`;
        if (this.options.pedantic) {
          bull = isordered ? bull : "[*+-]";
        }
        const itemRegex = this.rules.other.listItemRegex(bull);
        let endsWithBlankLine = false;
        while (src) {
          let endEarly = false;
          let itemContents = "";
          if (!(cap = itemRegex.exec(src))) {
            break;
          }
          if (this.rules.block.hr.test(src)) {
            break;
          }
          const itemStart = taken();
          src = src.substring(cap[0].length);
          const firstLine = cap[2].split("\n", 1)[0];
          const bulletIndent = cap[1].length;
          let line = this.options.pedantic ? expandTabs(firstLine, bulletIndent) : firstLine.replace(this.rules.other.leadingSpaceTab, (whitespace) => expandTabs(whitespace, bulletIndent));
          let nextLine = src.split("\n", 1)[0];
          let blankLine = !line.trim();
          let indent = 0;
          if (this.options.pedantic) {
            indent = 2;
            itemContents = line.trimStart();
          } else if (blankLine) {
            indent = bulletIndent + 1;
          } else {
            indent = line.search(this.rules.other.nonSpaceChar);
            indent = indent > 4 ? 1 : indent;
            itemContents = line.slice(indent);
            indent += bulletIndent;
          }
          if (blankLine && this.rules.other.blankLine.test(nextLine)) {
            src = src.substring(nextLine.length + 1);
            endEarly = true;
          }
          if (!endEarly) {
            const nextBulletRegex = this.rules.other.nextBulletRegex(indent);
            const hrRegex = this.rules.other.hrRegex(indent);
            const fencesBeginRegex = this.rules.other.fencesBeginRegex(indent);
            const headingBeginRegex = this.options.pedantic ? this.rules.other.pedanticHeadingBeginRegex(indent) : this.rules.other.headingBeginRegex(indent);
            const htmlBeginRegex = this.rules.other.htmlBeginRegex(indent);
            const blockquoteBeginRegex = this.rules.other.blockquoteBeginRegex(indent);
            let lineIsLazy = false;
            while (src) {
              const rawLine = src.split("\n", 1)[0];
              let nextLineWithoutTabs;
              nextLine = rawLine;
              if (this.options.pedantic) {
                nextLine = nextLine.replace(this.rules.other.listReplaceNesting, "  ");
                nextLineWithoutTabs = nextLine;
              } else {
                nextLineWithoutTabs = nextLine.replace(this.rules.other.leadingSpaceTab, (whitespace) => expandTabs(whitespace));
              }
              if (fencesBeginRegex.test(nextLine)) {
                break;
              }
              if (headingBeginRegex.test(nextLine)) {
                break;
              }
              if (htmlBeginRegex.test(nextLine)) {
                break;
              }
              if (blockquoteBeginRegex.test(nextLine)) {
                break;
              }
              if (nextBulletRegex.test(nextLine)) {
                break;
              }
              if (hrRegex.test(nextLine)) {
                break;
              }
              if (nextLineWithoutTabs.search(this.rules.other.nonSpaceChar) >= indent || !nextLine.trim()) {
                itemContents += "\n" + nextLineWithoutTabs.slice(indent);
                lineIsLazy = false;
              } else {
                if (blankLine) {
                  break;
                }
                let lastBlock = line;
                if (!this.options.pedantic && !itemContents.includes("\n") && !line.includes("	")) {
                  let marker;
                  while (!hrRegex.test(lastBlock) && (marker = this.rules.other.nestedBlockMarker.exec(lastBlock))) {
                    lastBlock = lastBlock.slice(marker[0].length);
                  }
                  if (!lastBlock.trim()) {
                    break;
                  }
                }
                if (lastBlock.replace(this.rules.other.tabCharGlobal, "    ").search(this.rules.other.nonSpaceChar) >= 4) {
                  break;
                }
                if (fencesBeginRegex.test(lastBlock)) {
                  break;
                }
                if (headingBeginRegex.test(lastBlock)) {
                  break;
                }
                if (htmlBeginRegex.test(lastBlock)) {
                  break;
                }
                if (hrRegex.test(lastBlock)) {
                  break;
                }
                if (!this.options.pedantic && !lineIsLazy) {
                  const lastBlockLine = line.replace(this.rules.other.nestedContainerMarkers, "");
                  if (this.rules.block.fences.test(lastBlockLine) || this.rules.block.heading.test(lastBlockLine) || this.rules.block.hr.test(lastBlockLine)) {
                    break;
                  }
                }
                const setextContinuation = !this.options.pedantic && /^ {0,3}(?:=+|-+) *$/.test(nextLine) && this.rules.block.lheading.test(`${line}
${nextLine}`);
                const continuation = setextContinuation ? `    ${nextLineWithoutTabs.replace(/^ {0,3}/, "")}` : nextLine;
                itemContents += "\n" + continuation;
                lineIsLazy = true;
              }
              blankLine = !nextLine.trim();
              src = src.substring(rawLine.length + 1);
              line = nextLineWithoutTabs.slice(indent);
            }
          }
          const raw = listSrc.slice(itemStart, taken());
          if (!list2.loose) {
            if (endsWithBlankLine) {
              list2.loose = true;
            } else if (this.rules.other.doubleBlankLine.test(raw)) {
              endsWithBlankLine = true;
            }
          }
          list2.items.push({
            type: "list_item",
            raw,
            task: !!this.options.gfm && this.rules.other.listIsTask.test(itemContents),
            loose: false,
            text: itemContents,
            tokens: []
          });
        }
        const lastItem = list2.items.at(-1);
        if (lastItem) {
          lastItem.raw = lastItem.raw.trimEnd();
          lastItem.text = lastItem.text.trimEnd();
        } else {
          return;
        }
        list2.raw = listSrc.slice(0, taken()).trimEnd();
        const queueStarts = [];
        for (const item of list2.items) {
          this.lexer.state.top = false;
          queueStarts.push(this.lexer.inlineQueue.length);
          item.tokens = this.lexer.blockTokens(item.text, []);
          if (!list2.loose) {
            const spacers = item.tokens.filter((t) => t.type === "space");
            const hasMultipleLineBreaks = spacers.length > 0 && spacers.some((t) => this.rules.other.anyLine.test(t.raw));
            list2.loose = hasMultipleLineBreaks;
          }
        }
        for (let i = 0; i < list2.items.length; i++) {
          const item = list2.items[i];
          const itemToken = item.tokens[0];
          if (item.task && (itemToken?.type === "text" || itemToken?.type === "paragraph")) {
            item.text = item.text.replace(this.rules.other.listReplaceTask, "");
            itemToken.raw = itemToken.raw.replace(this.rules.other.listReplaceTask, "");
            itemToken.text = itemToken.text.replace(this.rules.other.listReplaceTask, "");
            const inlineQueue = this.lexer.inlineQueue;
            for (let j = queueStarts[i]; j < inlineQueue.length; j++) {
              if (inlineQueue[j].tokens === itemToken.tokens) {
                inlineQueue[j].src = inlineQueue[j].src.replace(this.rules.other.listReplaceTask, "");
                break;
              }
            }
            const taskRaw = this.rules.other.listTaskCheckbox.exec(item.raw);
            if (taskRaw) {
              const checkboxToken = {
                type: "checkbox",
                raw: taskRaw[0] + " ",
                checked: taskRaw[0] !== "[ ]"
              };
              item.checked = checkboxToken.checked;
              if (list2.loose) {
                if (item.tokens[0] && ["paragraph", "text"].includes(item.tokens[0].type) && "tokens" in item.tokens[0] && item.tokens[0].tokens) {
                  item.tokens[0].raw = checkboxToken.raw + item.tokens[0].raw;
                  item.tokens[0].text = checkboxToken.raw + item.tokens[0].text;
                  item.tokens[0].tokens.unshift(checkboxToken);
                } else {
                  item.tokens.unshift({
                    type: "paragraph",
                    raw: checkboxToken.raw,
                    text: checkboxToken.raw,
                    tokens: [checkboxToken]
                  });
                }
              } else {
                item.tokens.unshift(checkboxToken);
              }
            }
          } else if (item.task) {
            item.task = false;
          }
        }
        if (list2.loose) {
          for (const item of list2.items) {
            item.loose = true;
            for (const token of item.tokens) {
              if (token.type === "text") {
                token.type = "paragraph";
              }
            }
          }
        }
        return list2;
      }
    }
    html(src) {
      const cap = this.rules.block.html.exec(src);
      if (cap) {
        if (this.lexer.state.lastToken?.type === "paragraph" && !this.rules.other.htmlBeginRegex(4).test(src)) {
          return;
        }
        const raw = trimTrailingBlankLines(cap[0]);
        const token = {
          type: "html",
          block: true,
          raw,
          pre: cap[1] === "pre" || cap[1] === "script" || cap[1] === "style",
          text: raw
        };
        return token;
      }
    }
    def(src) {
      const cap = this.rules.block.def.exec(src);
      if (cap) {
        if (!this.rules.other.startAngleBracket.test(cap[2]) && findClosingBracket(cap[2], "()") !== -1) {
          return;
        }
        const tag2 = normalizeLabel(cap[1]);
        const href = cap[2] ? cap[2].replace(this.rules.other.hrefBrackets, "$1").replace(this.rules.inline.anyPunctuation, "$1") : "";
        const title = cap[3] ? cap[3].substring(1, cap[3].length - 1).replace(this.rules.inline.anyPunctuation, "$1") : cap[3];
        return {
          type: "def",
          tag: tag2,
          raw: rtrim(cap[0], "\n"),
          href,
          title
        };
      }
    }
    table(src) {
      const cap = this.rules.block.table.exec(src);
      if (!cap) {
        return;
      }
      if (!this.rules.other.tableDelimiter.test(cap[2])) {
        return;
      }
      const headers = splitCells(cap[1]);
      const aligns = cap[2].replace(this.rules.other.tableAlignChars, "").split("|");
      const rows = cap[3]?.trim() ? cap[3].replace(this.rules.other.tableRowBlankLine, "").split("\n") : [];
      const item = {
        type: "table",
        raw: rtrim(cap[0], "\n"),
        header: [],
        align: [],
        rows: []
      };
      if (headers.length !== aligns.length) {
        return;
      }
      for (const align of aligns) {
        if (this.rules.other.tableAlignRight.test(align)) {
          item.align.push("right");
        } else if (this.rules.other.tableAlignCenter.test(align)) {
          item.align.push("center");
        } else if (this.rules.other.tableAlignLeft.test(align)) {
          item.align.push("left");
        } else {
          item.align.push(null);
        }
      }
      for (let i = 0; i < headers.length; i++) {
        item.header.push({
          text: headers[i],
          tokens: this.lexer.inline(headers[i]),
          header: true,
          align: item.align[i]
        });
      }
      for (const row of rows) {
        item.rows.push(splitCells(row, item.header.length).map((cell, i) => {
          return {
            text: cell,
            tokens: this.lexer.inline(cell),
            header: false,
            align: item.align[i]
          };
        }));
      }
      return item;
    }
    lheading(src) {
      const cap = this.rules.block.lheading.exec(src);
      if (cap) {
        const text = cap[1].trim();
        return {
          type: "heading",
          raw: rtrim(cap[0], "\n"),
          depth: cap[2].charAt(0) === "=" ? 1 : 2,
          text,
          tokens: this.lexer.inline(text)
        };
      }
    }
    paragraph(src) {
      const cap = this.rules.block.paragraph.exec(src);
      if (cap) {
        const text = cap[1].charAt(cap[1].length - 1) === "\n" ? cap[1].slice(0, -1) : cap[1];
        return {
          type: "paragraph",
          raw: cap[0],
          text,
          tokens: this.lexer.inline(text)
        };
      }
    }
    text(src) {
      const cap = this.rules.block.text.exec(src);
      if (cap) {
        return {
          type: "text",
          raw: cap[0],
          text: cap[0],
          tokens: this.lexer.inline(cap[0])
        };
      }
    }
    escape(src) {
      if (src.charCodeAt(0) !== 92) return;
      const cap = this.rules.inline.escape.exec(src);
      if (cap) {
        return {
          type: "escape",
          raw: cap[0],
          text: cap[1]
        };
      }
    }
    tag(src) {
      if (src.charCodeAt(0) !== 60) return;
      const cap = this.rules.inline.tag.exec(src);
      if (cap) {
        if (!this.lexer.state.inLink && this.rules.other.startATag.test(cap[0])) {
          this.lexer.state.inLink = true;
        } else if (this.lexer.state.inLink && this.rules.other.endATag.test(cap[0])) {
          this.lexer.state.inLink = false;
        }
        if (!this.lexer.state.inRawBlock && this.rules.other.startPreScriptTag.test(cap[0])) {
          this.lexer.state.inRawBlock = true;
        } else if (this.lexer.state.inRawBlock && this.rules.other.endPreScriptTag.test(cap[0])) {
          this.lexer.state.inRawBlock = false;
        }
        return {
          type: "html",
          raw: cap[0],
          inLink: this.lexer.state.inLink,
          inRawBlock: this.lexer.state.inRawBlock,
          block: false,
          text: cap[0]
        };
      }
    }
    link(src) {
      if (this.lexer.state.linkParenPossible === false) {
        return void 0;
      }
      const first = src.charCodeAt(0);
      if (first !== 91 && first !== 33) return;
      const cap = this.rules.inline.link.exec(src);
      if (cap) {
        const labelStart = cap[0].charAt(0) === "!" ? 2 : 1;
        if (!this.options.pedantic && isLabelEndInsideToken(src, cap[1], labelStart, this.rules)) {
          return;
        }
        const trimmedUrl = cap[2].trim();
        if (!this.options.pedantic && this.rules.other.startAngleBracket.test(trimmedUrl)) {
          if (!this.rules.other.endAngleBracket.test(trimmedUrl)) {
            return;
          }
          const rtrimSlash = rtrim(trimmedUrl.slice(0, -1), "\\");
          if ((trimmedUrl.length - rtrimSlash.length) % 2 === 0) {
            return;
          }
        } else {
          const lastParenIndex = findClosingBracket(cap[2], "()");
          if (lastParenIndex === -2) {
            return;
          }
          if (lastParenIndex > -1) {
            const start = cap[0].indexOf("!") === 0 ? 5 : 4;
            const linkLen = start + cap[1].length + lastParenIndex;
            cap[2] = cap[2].substring(0, lastParenIndex);
            cap[0] = cap[0].substring(0, linkLen).trim();
            cap[3] = "";
          }
        }
        const unescaped = rtrim(cap[0].slice(0, -1), "\\");
        if ((cap[0].length - unescaped.length) % 2 === 0) {
          return;
        }
        let href = cap[2];
        let title = "";
        if (this.options.pedantic) {
          const link2 = this.rules.other.pedanticHrefTitle.exec(href);
          if (link2) {
            href = link2[1];
            title = link2[3];
          }
        } else {
          title = cap[3] ? cap[3].slice(1, -1) : "";
        }
        href = href.trim();
        if (this.rules.other.startAngleBracket.test(href)) {
          if (this.options.pedantic && !this.rules.other.endAngleBracket.test(trimmedUrl)) {
            href = href.slice(1);
          } else {
            href = href.slice(1, -1);
          }
        }
        return outputLink(cap, {
          href: href ? href.replace(this.rules.inline.anyPunctuation, "$1") : href,
          title: title ? title.replace(this.rules.inline.anyPunctuation, "$1") : title
        }, cap[0], this.lexer, this.rules);
      }
    }
    reflink(src, links) {
      const first = src.charCodeAt(0);
      if (first !== 91 && first !== 33) return;
      let cap;
      if ((cap = this.rules.inline.reflink.exec(src)) || (cap = this.rules.inline.nolink.exec(src))) {
        const labelStart = cap[0].charAt(0) === "!" ? 2 : 1;
        if (!this.options.pedantic && isLabelEndInsideToken(src, cap[1], labelStart, this.rules)) {
          return;
        }
        const link2 = links[normalizeLabel(cap[2] || cap[1])];
        if (!link2) {
          const text = cap[0].charAt(0);
          return {
            type: "text",
            raw: text,
            text
          };
        }
        return outputLink(cap, link2, cap[0], this.lexer, this.rules);
      }
    }
    emStrong(src, maskedSrc, prevChar = "") {
      let match = this.rules.inline.emStrongLDelim.exec(src);
      if (!match) return;
      if (!match[1] && !match[2] && !match[3] && !match[4]) return;
      const delimChar = match[0][0];
      const midRun = prevChar === delimChar;
      const srcStart = maskedSrc.length - src.length;
      let runStart = srcStart;
      while (!this.options.pedantic && runStart > 0 && maskedSrc[runStart - 1] === delimChar) {
        runStart--;
      }
      const runPrevChar = [...maskedSrc.slice(Math.max(0, runStart - 2), runStart)].at(-1) ?? "";
      const runPrevPunct = runPrevChar === "*" || runPrevChar === "_" || !!this.rules.inline.punctuation.exec(runPrevChar);
      if (runStart < srcStart) {
        prevChar = runPrevChar;
      }
      const prevPunct = runStart < srcStart ? runPrevPunct : prevChar === "*" || prevChar === "_" || !!this.rules.inline.punctuation.exec(prevChar);
      if (match[4] && prevChar.match(this.rules.other.unicodeAlphaNumeric)) return;
      const nextChar = match[1] || match[3] || "";
      if (!nextChar || !prevChar || prevPunct) {
        const lLength = [...match[0]].length - 1;
        let rDelim, rLength, delimTotal = lLength, midDelimTotal = 0;
        const runLength = srcStart - runStart + lLength;
        const openerCanClose = !this.options.pedantic && !!runPrevChar.trim() && (!!nextChar || delimChar === "*" && !runPrevPunct);
        if (delimChar !== "*" && delimChar !== "_") return;
        const endReg = delimChar === "*" ? this.rules.inline.emStrongRDelimAst : this.rules.inline.emStrongRDelimUnd;
        const lastPossibleEmStrongCloserIndex = cachedLastPossibleEmStrongCloserIndex(this, maskedSrc, delimChar);
        const emStrongCloserWindowStart = maskedSrc.length - src.length + lLength;
        if (lastPossibleEmStrongCloserIndex < emStrongCloserWindowStart) return;
        maskedSrc = maskedSrc.slice(-1 * src.length + lLength);
        const lastPossibleEmStrongCloserIndexInWindow = lastPossibleEmStrongCloserIndex - emStrongCloserWindowStart;
        endReg.lastIndex = 0;
        while ((match = endReg.exec(maskedSrc)) !== null) {
          if (match.index > lastPossibleEmStrongCloserIndexInWindow) break;
          rDelim = match[1] || match[2] || match[3] || match[4] || match[5] || match[6];
          if (!rDelim) continue;
          rLength = [...rDelim].length;
          if (match[3] || match[4]) {
            delimTotal += rLength;
            continue;
          } else if (match[5] || match[6] || openerCanClose) {
            if (runLength % 3 && !((runLength + rLength) % 3)) {
              if (midRun && (match[5] || match[6])) {
                break;
              }
              midDelimTotal += rLength;
              continue;
            }
          }
          delimTotal -= rLength;
          if (delimTotal > 0) continue;
          rLength = Math.min(rLength, rLength + delimTotal + midDelimTotal);
          const lastCharLength = [...match[0]][0].length;
          const raw = src.slice(0, lLength + match.index + lastCharLength + rLength);
          if (Math.min(lLength, rLength) % 2) {
            const text2 = raw.slice(1, -1);
            return {
              type: "em",
              raw,
              text: text2,
              tokens: this.lexer.inlineTokens(text2)
            };
          }
          const text = raw.slice(2, -2);
          return {
            type: "strong",
            raw,
            text,
            tokens: this.lexer.inlineTokens(text)
          };
        }
      }
    }
    codespan(src) {
      if (src.charCodeAt(0) !== 96) return;
      const cap = this.rules.inline.code.exec(src);
      if (cap) {
        let text = cap[2].replace(this.rules.other.newLineCharGlobal, " ");
        const hasNonSpaceChars = this.rules.other.nonSpaceChar.test(text);
        const hasSpaceCharsOnBothEnds = this.rules.other.startingSpaceChar.test(text) && this.rules.other.endingSpaceChar.test(text);
        if (hasNonSpaceChars && hasSpaceCharsOnBothEnds) {
          text = text.substring(1, text.length - 1);
        }
        return {
          type: "codespan",
          raw: cap[0],
          text
        };
      }
    }
    br(src) {
      const first = src.charCodeAt(0);
      if (first !== 32 && first !== 92 && first !== 10) return;
      const cap = this.rules.inline.br.exec(src);
      if (cap) {
        return {
          type: "br",
          raw: cap[0]
        };
      }
    }
    del(src, maskedSrc, prevChar = "") {
      if (src.charCodeAt(0) !== 126) return;
      let match = this.rules.inline.delLDelim.exec(src);
      if (!match) return;
      const nextChar = match[1] || "";
      if (!nextChar || !prevChar || this.rules.inline.punctuation.exec(prevChar)) {
        const lLength = [...match[0]].length - 1;
        let rDelim, rLength, delimTotal = lLength;
        const endReg = this.rules.inline.delRDelim;
        const lastPossibleDelCloserIndex = cachedLastPossibleDelCloserIndex(this, maskedSrc);
        const delCloserWindowStart = maskedSrc.length - src.length + lLength;
        if (lastPossibleDelCloserIndex < delCloserWindowStart) return;
        maskedSrc = maskedSrc.slice(-1 * src.length + lLength);
        const lastPossibleDelCloserIndexInWindow = lastPossibleDelCloserIndex - delCloserWindowStart;
        endReg.lastIndex = 0;
        while ((match = endReg.exec(maskedSrc)) !== null) {
          if (match.index > lastPossibleDelCloserIndexInWindow) break;
          rDelim = match[1] || match[2] || match[3] || match[4] || match[5] || match[6];
          if (!rDelim) continue;
          rLength = [...rDelim].length;
          if (rLength !== lLength) continue;
          if (match[3] || match[4]) {
            delimTotal += rLength;
            continue;
          }
          delimTotal -= rLength;
          if (delimTotal > 0) continue;
          rLength = Math.min(rLength, rLength + delimTotal);
          const lastCharLength = [...match[0]][0].length;
          const raw = src.slice(0, lLength + match.index + lastCharLength + rLength);
          const text = raw.slice(lLength, -lLength);
          return {
            type: "del",
            raw,
            text,
            tokens: this.lexer.inlineTokens(text)
          };
        }
      }
    }
    autolink(src) {
      if (src.charCodeAt(0) !== 60) return;
      const cap = this.rules.inline.autolink.exec(src);
      if (cap) {
        let text, href;
        if (cap[2] === "@") {
          text = cap[1];
          href = "mailto:" + text;
        } else {
          text = cap[1];
          href = text;
        }
        return {
          type: "link",
          raw: cap[0],
          text,
          href,
          autolink: true,
          tokens: [
            {
              type: "text",
              raw: text,
              text
            }
          ]
        };
      }
    }
    a(src) {
      let cap;
      if (cap = this.rules.inline.a.exec(src)) {
        let text, href;
        if (cap[2] === "@") {
          text = cap[0];
          href = "mailto:" + text;
        } else {
          let prevCapZero;
          do {
            prevCapZero = cap[0];
            cap[0] = this.rules.inline._backpedal.exec(cap[0])?.[0] ?? "";
          } while (prevCapZero !== cap[0]);
          text = cap[0];
          if (cap[1] === "www.") {
            href = ["http:", "", cap[0]].join("/");
          } else {
            href = cap[0];
          }
        }
        return {
          type: "link",
          raw: cap[0],
          text,
          href,
          autolink: true,
          tokens: [
            {
              type: "text",
              raw: text,
              text
            }
          ]
        };
      }
    }
    inlineText(src) {
      const cap = this.rules.inline.text.exec(src);
      if (cap) {
        const escaped = this.lexer.state.inRawBlock;
        return {
          type: "text",
          raw: cap[0],
          // raw HTML keeps whatever it was written with, everywhere else a numeric
          // character reference stands for the character itself
          text: escaped ? cap[0] : decodeNumericCharacterReferences(cap[0]),
          escaped
        };
      }
    }
  };

  // src/Lexer.ts
  var _Lexer = class __Lexer {
    tokens;
    options;
    state;
    inlineQueue;
    tokenizer;
    constructor(options) {
      this.tokens = [];
      this.tokens.links = /* @__PURE__ */ Object.create(null);
      this.options = options || _defaults;
      this.options.tokenizer = this.options.tokenizer || new _Tokenizer();
      this.tokenizer = this.options.tokenizer;
      this.tokenizer.options = this.options;
      this.tokenizer.lexer = this;
      this.inlineQueue = [];
      this.state = {
        inLink: false,
        inRawBlock: false,
        linkEmitted: false,
        linkParenPossible: true,
        top: true
      };
      const rules = {
        other,
        block: block.normal,
        inline: inline.normal
      };
      if (this.options.pedantic) {
        rules.block = block.pedantic;
        rules.inline = inline.pedantic;
      } else if (this.options.gfm) {
        rules.block = block.gfm;
        if (this.options.breaks) {
          rules.inline = inline.breaks;
        } else {
          rules.inline = inline.gfm;
        }
      }
      this.tokenizer.rules = rules;
    }
    /**
     * Expose Rules
     */
    static get rules() {
      return {
        block,
        inline
      };
    }
    /**
     * Static Lex Method
     */
    static lex(src, options) {
      const lexer = new __Lexer(options);
      return lexer.lex(src);
    }
    /**
     * Static Lex Inline Method
     */
    static lexInline(src, options) {
      const lexer = new __Lexer(options);
      return lexer.inlineTokens(src);
    }
    /**
     * Preprocessing
     */
    lex(src) {
      src = src.replace(other.carriageReturn, "\n");
      this.blockTokens(src, this.tokens);
      for (let i = 0; i < this.inlineQueue.length; i++) {
        const next = this.inlineQueue[i];
        this.state.inRawBlock = false;
        this.inlineTokens(next.src, next.tokens);
      }
      this.inlineQueue = [];
      return this.tokens;
    }
    blockTokens(src, tokens = [], lastParagraphClipped = false) {
      this.tokenizer.lexer = this;
      const outerLastToken = this.state.lastToken;
      if (this.options.pedantic) {
        src = src.replace(other.tabCharGlobal, "    ").replace(other.spaceLine, "");
      }
      let srcLength = Infinity;
      let lastParagraph;
      const mergeAdjacentParagraphs = this.options.gfm && !this.options.pedantic && this.tokenizer.paragraph === _Tokenizer.prototype.paragraph;
      while (src) {
        if (src.length < srcLength) {
          srcLength = src.length;
        } else {
          this.infiniteLoopError(src.charCodeAt(0));
          break;
        }
        this.state.lastToken = tokens.at(-1);
        let token;
        if (this.options.extensions?.block?.some((extTokenizer) => {
          if (token = extTokenizer.call({ lexer: this }, src, tokens)) {
            src = src.substring(token.raw.length);
            tokens.push(token);
            return true;
          }
          return false;
        })) {
          continue;
        }
        if (token = this.tokenizer.space(src)) {
          src = src.substring(token.raw.length);
          const lastToken = tokens.at(-1);
          if (token.raw.length === 1 && lastToken !== void 0) {
            lastToken.raw += "\n";
          } else {
            tokens.push(token);
          }
          continue;
        }
        if (token = this.tokenizer.code(src)) {
          src = src.substring(token.raw.length);
          const lastToken = tokens.at(-1);
          if (lastToken?.type === "paragraph" || lastToken?.type === "text") {
            lastToken.raw += (lastToken.raw.endsWith("\n") ? "" : "\n") + token.raw;
            lastToken.text += "\n" + token.text;
            this.inlineQueue.at(-1).src = lastToken.text;
          } else {
            tokens.push(token);
          }
          continue;
        }
        if (token = this.tokenizer.fences(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.heading(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.hr(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.blockquote(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.list(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.html(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.def(src)) {
          src = src.substring(token.raw.length);
          const lastToken = tokens.at(-1);
          if (lastToken?.type === "paragraph" || lastToken?.type === "text") {
            lastToken.raw += (lastToken.raw.endsWith("\n") ? "" : "\n") + token.raw;
            lastToken.text += "\n" + token.raw;
            this.inlineQueue.at(-1).src = lastToken.text;
          } else {
            if (!this.tokens.links[token.tag]) {
              this.tokens.links[token.tag] = {
                href: token.href,
                title: token.title
              };
            }
            tokens.push(token);
          }
          continue;
        }
        if (token = this.tokenizer.table(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.lheading(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        let cutSrc = src;
        if (this.options.extensions?.startBlock) {
          let startIndex = Infinity;
          const tempSrc = src.slice(1);
          let tempStart;
          this.options.extensions.startBlock.forEach((getStartIndex) => {
            tempStart = getStartIndex.call({ lexer: this }, tempSrc);
            if (typeof tempStart === "number" && tempStart >= 0) {
              startIndex = Math.min(startIndex, tempStart);
            }
          });
          if (startIndex < Infinity && startIndex >= 0) {
            cutSrc = src.substring(0, startIndex + 1);
          }
        }
        if (this.state.top && (token = this.tokenizer.paragraph(cutSrc))) {
          const lastToken = tokens.at(-1);
          if ((lastParagraphClipped || lastToken === lastParagraph && mergeAdjacentParagraphs) && lastToken?.type === "paragraph") {
            lastToken.raw += (lastToken.raw.endsWith("\n") ? "" : "\n") + token.raw;
            lastToken.text += "\n" + token.text;
            this.inlineQueue.pop();
            this.inlineQueue.at(-1).src = lastToken.text;
            lastParagraph = lastToken;
          } else {
            tokens.push(token);
            lastParagraph = token;
          }
          lastParagraphClipped = cutSrc.length !== src.length;
          src = src.substring(token.raw.length);
          continue;
        }
        if (token = this.tokenizer.text(src)) {
          src = src.substring(token.raw.length);
          const lastToken = tokens.at(-1);
          if (lastToken?.type === "text") {
            lastToken.raw += (lastToken.raw.endsWith("\n") ? "" : "\n") + token.raw;
            lastToken.text += "\n" + token.text;
            this.inlineQueue.pop();
            this.inlineQueue.at(-1).src = lastToken.text;
          } else {
            tokens.push(token);
          }
          continue;
        }
        if (src) {
          this.infiniteLoopError(src.charCodeAt(0));
          break;
        }
      }
      this.state.top = true;
      this.state.lastToken = outerLastToken;
      return tokens;
    }
    inline(src, tokens = []) {
      this.inlineQueue.push({ src, tokens });
      return tokens;
    }
    /**
     * Does this link text hold a link already? An image does not count: an image
     * may hold a link, a link may not.
     */
    linkInText(text) {
      if (!text.includes("[")) {
        return false;
      }
      const linkRule = this.tokenizer.rules.inline.link;
      for (const match of text.matchAll(this.tokenizer.rules.inline.blockSkip)) {
        if (linkRule.test(match[0]) && text.charAt(match.index - 1) !== "!") {
          return true;
        }
      }
      for (const match of text.matchAll(this.tokenizer.rules.inline.reflinkSearch)) {
        const match0 = match[0];
        const refStart = match0.lastIndexOf("[");
        if (match0.charAt(0) === "!" || !Object.hasOwn(this.tokens.links, normalizeLabel(match0.slice(refStart + 1, -1)))) {
          continue;
        }
        if (refStart > 1 && this.linkInText(match0.slice(1, refStart - 1))) {
          continue;
        }
        return true;
      }
      return false;
    }
    /**
     * Lexing/Compiling
     */
    inlineTokens(src, tokens = []) {
      this.tokenizer.lexer = this;
      const prevLinkParenPossible = this.state.linkParenPossible;
      this.state.linkParenPossible = src.includes(")");
      try {
        return this.#inlineTokensInner(src, tokens);
      } finally {
        this.state.linkParenPossible = prevLinkParenPossible;
      }
    }
    #inlineTokensInner(src, tokens) {
      const hasDelimiter = src.includes("*") || src.includes("_") || src.includes("~");
      const maskedSrc = hasDelimiter || this.options.hooks?.emStrongMask || this.tokenizer.emStrong !== _Tokenizer.prototype.emStrong || this.tokenizer.del !== _Tokenizer.prototype.del ? this.#maskSrc(src) : src;
      if (!hasDelimiter) {
        return this.#tokenizeInlines(src, maskedSrc, tokens);
      }
      beginEmStrongDelCloserScan(this.tokenizer, maskedSrc);
      try {
        return this.#tokenizeInlines(src, maskedSrc, tokens);
      } finally {
        endEmStrongDelCloserScan(this.tokenizer);
      }
    }
    #tokenizeInlines(src, maskedSrc, tokens) {
      let keepPrevChar = false;
      let prevChar = "";
      let srcLength = Infinity;
      while (src) {
        if (src.length < srcLength) {
          srcLength = src.length;
        } else {
          this.infiniteLoopError(src.charCodeAt(0));
          break;
        }
        if (!keepPrevChar) {
          prevChar = "";
        }
        keepPrevChar = false;
        let token;
        if (this.options.extensions?.inline?.some((extTokenizer) => {
          if (token = extTokenizer.call({ lexer: this }, src, tokens)) {
            src = src.substring(token.raw.length);
            tokens.push(token);
            return true;
          }
          return false;
        })) {
          continue;
        }
        if (token = this.tokenizer.escape(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.tag(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.link(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.reflink(src, this.tokens.links)) {
          src = src.substring(token.raw.length);
          const lastToken = tokens.at(-1);
          if (token.type === "text" && lastToken?.type === "text") {
            lastToken.raw += token.raw;
            lastToken.text += token.text;
          } else {
            tokens.push(token);
          }
          continue;
        }
        const firstChar = src[0];
        if (firstChar === "*" || firstChar === "_") {
          const pos = maskedSrc.length - src.length;
          const lastCloser = cachedLastPossibleEmStrongCloserIndex(this.tokenizer, maskedSrc, firstChar);
          if (lastCloser <= pos) {
            let runEnd = 1;
            while (runEnd < src.length && src.charCodeAt(runEnd) === firstChar.charCodeAt(0)) runEnd++;
            const raw = src.substring(0, runEnd);
            const lastToken = tokens.at(-1);
            if (lastToken?.type === "text" && !lastToken.escaped) {
              lastToken.raw += raw;
              lastToken.text += raw;
            } else {
              tokens.push({ type: "text", raw, text: raw, escaped: false });
            }
            src = src.substring(runEnd);
            prevChar = firstChar;
            keepPrevChar = true;
            continue;
          }
        } else if (firstChar === "~") {
          const pos = maskedSrc.length - src.length;
          const lastCloser = cachedLastPossibleDelCloserIndex(this.tokenizer, maskedSrc);
          if (lastCloser <= pos) {
            let runEnd = 1;
            while (runEnd < src.length && src.charCodeAt(runEnd) === 126) runEnd++;
            const raw = src.substring(0, runEnd);
            const lastToken = tokens.at(-1);
            if (lastToken?.type === "text" && !lastToken.escaped) {
              lastToken.raw += raw;
              lastToken.text += raw;
            } else {
              tokens.push({ type: "text", raw, text: raw, escaped: false });
            }
            src = src.substring(runEnd);
            prevChar = firstChar;
            keepPrevChar = true;
            continue;
          }
        }
        if (token = this.tokenizer.emStrong(src, maskedSrc, prevChar)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.codespan(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.br(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.del(src, maskedSrc, prevChar)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (token = this.tokenizer.autolink(src)) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        if (!this.state.inLink && (token = this.tokenizer.a(src))) {
          src = src.substring(token.raw.length);
          tokens.push(token);
          continue;
        }
        let cutSrc = src;
        if (this.options.extensions?.startInline) {
          let startIndex = Infinity;
          const tempSrc = src.slice(1);
          let tempStart;
          this.options.extensions.startInline.forEach((getStartIndex) => {
            tempStart = getStartIndex.call({ lexer: this }, tempSrc);
            if (typeof tempStart === "number" && tempStart >= 0) {
              startIndex = Math.min(startIndex, tempStart);
            }
          });
          if (startIndex < Infinity && startIndex >= 0) {
            cutSrc = src.substring(0, startIndex + 1);
          }
        }
        if (token = this.tokenizer.inlineText(cutSrc)) {
          src = src.substring(token.raw.length);
          if (token.raw.slice(-1) !== "_") {
            prevChar = token.raw.slice(-1);
          }
          keepPrevChar = true;
          const lastToken = tokens.at(-1);
          if (lastToken?.type === "text") {
            lastToken.raw += token.raw;
            lastToken.text += token.text;
          } else {
            tokens.push(token);
          }
          continue;
        }
        if (src) {
          this.infiniteLoopError(src.charCodeAt(0));
          break;
        }
      }
      return tokens;
    }
    /**
     * Mask links, code spans, raw html and autolinks. blockSkip finds every
     * `<...>` run, but only real raw html and autolinks take precedence over
     * emphasis: other text in angle brackets, like `<*name*>`, stays unmasked so
     * emphasis can open and close in it. A tag may also run past the first `>`,
     * as in `<a title=">">`, so mask the whole tag.
     */
    #maskBlocks(src) {
      const { blockSkip: blockSkip2, tag: tag2, autolink: autolink2 } = this.tokenizer.rules.inline;
      let masked = "";
      let last = 0;
      let match;
      blockSkip2.lastIndex = 0;
      while (match = blockSkip2.exec(src)) {
        const start = match.index + (match[2] ? match[2].length : 0);
        let end = match.index + match[0].length;
        if (src.charAt(start) === "<") {
          const rest = src.slice(start);
          const html2 = tag2.exec(rest) || autolink2.exec(rest);
          if (!html2) {
            blockSkip2.lastIndex = start + 1;
            continue;
          }
          end = start + html2[0].length;
          blockSkip2.lastIndex = end;
        }
        masked += src.slice(last, start) + "[" + "a".repeat(end - start - 2) + "]";
        last = end;
      }
      return masked + src.slice(last);
    }
    /**
     * Mask links, code, html and escapes so emStrong and del do not see their
     * delimiters inside them.
     */
    #maskSrc(src) {
      let maskedSrc = src;
      if (this.tokens.links && src.includes("[")) {
        const reflinkSearch2 = this.tokenizer.rules.inline.reflinkSearch;
        const maskReflink = (match0) => {
          const refStart = match0.lastIndexOf("[");
          if (!Object.hasOwn(this.tokens.links, normalizeLabel(match0.slice(refStart + 1, -1)))) {
            return match0;
          }
          if (refStart > 1 && match0.charAt(0) !== "!") {
            const text = match0.slice(1, refStart - 1);
            if (this.linkInText(text)) {
              return "[" + text.replace(reflinkSearch2, maskReflink) + "][" + "a".repeat(match0.length - refStart - 2) + "]";
            }
          }
          return "[" + "a".repeat(match0.length - 2) + "]";
        };
        maskedSrc = maskedSrc.replace(reflinkSearch2, maskReflink);
      }
      maskedSrc = maskedSrc.replace(this.tokenizer.rules.inline.anyPunctuationOutsideCode, (match0, code, punct) => {
        if (punct) {
          return "+".repeat(match0.length);
        }
        if (code) {
          return code + match0.slice(code.length, -code.length).replace(/`/g, "+") + code;
        }
        return match0;
      });
      maskedSrc = this.#maskBlocks(maskedSrc);
      maskedSrc = this.options.hooks?.emStrongMask?.call({ lexer: this }, maskedSrc) ?? maskedSrc;
      return maskedSrc;
    }
    infiniteLoopError(byte) {
      const errMsg = "Infinite loop on byte: " + byte;
      if (this.options.silent) {
        console.error(errMsg);
      } else {
        throw new Error(errMsg);
      }
    }
  };
  return __toCommonJS(Lexer_exports);
})();
