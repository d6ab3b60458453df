// Finds the prose of a file. Everything here returns blocks of text that remember their lines.

/**
 * @typedef {object} Block one paragraph, list item, heading, table row, comment or message
 * @property {'prose' | 'heading' | 'table' | 'message'} kind
 * @property {string} text its lines joined by single spaces, inline code and addresses taken out
 * @property {{ at: number, line: number }[]} lines where each source line begins in `text`
 * @property {boolean} isGenerated between `<!-- NAME:KEY -->` and `<!-- /NAME -->`: written by a program
 */

/** Inline code counts as one word, is never spelt, and ends no sentence. */
const CODE = 'CODE';

/** Text without inline code, link addresses, bare addresses and emphasis marks. */
export function plainText(text) {
  return text
    .replace(/(`+)(?:(?!\1).)+?\1/g, CODE)
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\bhttps?:\/\/[^\s)>]+/g, CODE)
    .replace(/<\/?[a-z][^>]*>/gi, '')
    .replace(/\{@link ([^}]*)\}/g, CODE)
    .replace(/\*\*|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)/g, '');
}

/** Collects numbered lines into blocks. */
class Blocks {
  /** @type {Block[]} */
  all = [];
  kind = 'prose';
  pending = [];

  add(kind, line, text, isGenerated = false) {
    if (this.pending.length > 0 && this.kind !== kind) this.flush();
    this.kind = kind;
    this.pending.push({ line, text, isGenerated });
  }

  flush() {
    if (this.pending.length === 0) return;
    // Inline code may run over a line's end, so that it is taken out of the joined text. A mark holds each line's place.
    const joined = plainText(this.pending.map(({ text }, i) => `\u0001${i}\u0002${text.trim()}`).join(' '));
    const lines = [];
    let text = '';
    for (const part of joined.split('\u0001')) {
      const [index, rest] = part.split('\u0002');
      if (rest === undefined) continue;
      lines.push({ at: text.length, line: this.pending[Number(index)].line });
      text += rest;
    }
    this.all.push({ kind: this.kind, text, lines, isGenerated: this.pending[0].isGenerated });
    this.pending = [];
  }
}

const LIST_ITEM = /^\s*(?:[-*+]|\d+[.)])\s+/;

/** Blocks of a Markdown page; fenced and indented code and HTML comments are left out. */
export function markdownBlocks(source) {
  const blocks = new Blocks();
  let fence;
  let isGenerated = false;
  let isList = false;
  let isAfterBlank = true; // or after a line of indented code
  source.split('\n').forEach((text, index) => {
    const line = index + 1;
    const mark = /^\s*(```+|~~~+)/.exec(text)?.[1];
    if (fence !== undefined || mark !== undefined) {
      blocks.flush();
      if (fence === undefined) fence = mark;
      else if (mark?.startsWith(fence)) fence = undefined;
      return;
    }
    if (/^<!-- \w+:[\w-]+ -->/.test(text)) isGenerated = true;
    if (/^<!-- \/\w+ -->/.test(text)) isGenerated = false;
    if (text.trim() === '' || /^\s*<!--/.test(text)) {
      isAfterBlank = true;
      return blocks.flush();
    }
    const isItem = LIST_ITEM.test(text);
    if (isItem || /^\S/.test(text)) isList = isItem;
    if (isAfterBlank && !isList && /^ {4}/.test(text)) return;
    isAfterBlank = false;
    const isHeading = /^#+\s/.test(text);
    const isRow = /^\s*\|/.test(text);
    if (isItem || isHeading || isRow) blocks.flush();
    const body = text.replace(LIST_ITEM, '').replace(/^\s*>\s?/, '').replace(/^#+\s/, '');
    blocks.add(isHeading ? 'heading' : isRow ? 'table' : 'prose', line, body, isGenerated);
    if (isHeading || isRow) blocks.flush();
  });
  blocks.flush();
  return blocks.all;
}

/** Adds one comment's text; tags, list items, table rows and empty lines end a paragraph. */
function addComment(blocks, firstLine, text) {
  text.split('\n').forEach((raw, index) => {
    const body = raw.replace(/^\s*\*+\s?/, '').trim();
    const tag = /^@\w+(?:\s+\{[^}]*\})?(?:\s+\[?[\w.]+\]?)?\s*/.exec(body)?.[0] ?? '';
    if (body === '' || tag !== '' || LIST_ITEM.test(body) || body.startsWith('|')) blocks.flush();
    const rest = body.slice(tag.length).replace(LIST_ITEM, '');
    if (rest !== '') blocks.add(body.startsWith('|') ? 'table' : 'prose', firstLine + index, rest);
  });
}

/** A slash after one of these begins a regular expression. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|in|of|yield|await))\s*$/;

/** Index after the string that begins at `from`. */
function endOfString(source, from) {
  let end = from + 1;
  while (end < source.length && source[end] !== source[from] && source[end] !== '\n') end += source[end] === '\\' ? 2 : 1;
  return end + 1;
}

/** Index after the regular expression that begins at `from`. */
function endOfPattern(source, from) {
  let isClass = false;
  let end = from + 1;
  for (; end < source.length && source[end] !== '\n' && (isClass || source[end] !== '/'); end++) {
    if (source[end] === '\\') end++;
    else if (source[end] === '[') isClass = true;
    else if (source[end] === ']') isClass = false;
  }
  return end + 1;
}

/** Where the text of a template that begins at `from` ends: at its back-quote, or at an expression, then `isOpen`. */
function endOfTemplateText(source, from) {
  for (let i = from + 1; i < source.length; i++) {
    if (source[i] === '\\') i++;
    else if (source[i] === '`') return { end: i + 1, isOpen: false };
    else if (source.startsWith('${', i)) return { end: i + 2, isOpen: true };
  }
  return { end: source.length, isOpen: false };
}

/** Comments and strings of TypeScript or JavaScript, in order: what each is, and its text between the marks. */
function* scriptTokens(source) {
  const braces = []; // for each open template, the depth of braces inside its expression
  for (let i = 0; i < source.length; ) {
    const mark = source[i];
    const isPattern = mark === '/' && BEFORE_REGEX.test(source.slice(Math.max(0, i - 40), i));
    let end = i + 1;
    if (source.startsWith('//', i)) {
      end = source.indexOf('\n', i);
      if (end < 0) end = source.length;
      yield { kind: 'line comment', from: i, text: source.slice(i + 2, end) };
    } else if (source.startsWith('/*', i)) {
      end = source.indexOf('*/', i + 2) + 2;
      if (end < 2) end = source.length;
      yield { kind: 'comment', from: i, text: source.slice(i + 2, end - 2) };
    } else if (mark === "'" || mark === '"') {
      end = endOfString(source, i);
      yield { kind: 'string', from: i, text: source.slice(i + 1, end - 1) };
    } else if (mark === '`' || (mark === '}' && braces.at(-1) === 0)) {
      if (mark === '}') braces.pop();
      const found = endOfTemplateText(source, i);
      if (found.isOpen) braces.push(0);
      end = found.end;
      yield { kind: 'string', from: i, text: source.slice(i + 1, end - (found.isOpen ? 2 : 1)) };
    } else if (isPattern) {
      end = endOfPattern(source, i);
    } else if (braces.length > 0 && (mark === '{' || mark === '}')) {
      braces[braces.length - 1] += mark === '{' ? 1 : -1;
    }
    i = end;
  }
}

/** Comments of TypeScript or JavaScript; messages (strings with a space) too when `withMessages`. */
export function scriptBlocks(source, withMessages) {
  const blocks = new Blocks();
  let line = 1;
  let counted = 0;
  let lastLineComment = 0;
  for (const { kind, from, text } of scriptTokens(source)) {
    line += source.slice(counted, from).split('\n').length - 1;
    counted = from;
    const isNext = kind === 'line comment' && line === lastLineComment + 1;
    if (!isNext) blocks.flush();
    if (kind === 'line comment') lastLineComment = line;
    if (kind !== 'string') addComment(blocks, line, text);
    else if (withMessages && /[a-z] [a-z]/i.test(text)) blocks.add('message', line, text.replace(/\\./g, ' '));
  }
  blocks.flush();
  return blocks.all;
}

/** Comments of Python and YAML: `#` to the end of the line, and Python's docstrings. */
export function hashBlocks(source, isPython) {
  const blocks = new Blocks();
  let quote;
  source.split('\n').forEach((text, index) => {
    const line = index + 1;
    const opening = isPython && quote === undefined ? /^\s*(?:[rf]*)("""|''')/.exec(text) : null;
    if (quote !== undefined || opening !== null) {
      const body = opening === null ? text : text.slice(opening[0].length);
      const close = body.indexOf(quote ?? opening[1]);
      addComment(blocks, line, close < 0 ? body : body.slice(0, close));
      quote = close < 0 ? (quote ?? opening[1]) : undefined;
      if (close >= 0) blocks.flush();
      return;
    }
    const comment = /(?:^|\s)#(?!!)\s?(.*)$/.exec(text.replace(/"[^"]*"|'[^']*'/g, (string) => 'x'.repeat(string.length)));
    if (comment === null) return blocks.flush();
    addComment(blocks, line, text.slice(text.length - comment[1].length));
  });
  blocks.flush();
  return blocks.all;
}
