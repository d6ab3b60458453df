// Reads the Markdown and the comments of this repository, and reports English that the house does not write:
// phrases, misspellings, sentences that begin with "What" as their subject, long sentences, long lines.
//
//   node scripts/check-language.mjs [--root FOLDER] [PATH ...]
//
// Prints `file:line: what is wrong` and exits with 1 when it finds something. The rules are in language/rules.mjs.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { hashBlocks, markdownBlocks, scriptBlocks } from './language/extract.mjs';
import { MAX_LINE, PHRASES, SPELLING, sentenceLimit } from './language/rules.mjs';

const COMMENTED = ['src', 'lab', 'test', 'bench', 'examples'];
const SKIPPED = /(?:^|\/)(?:node_modules|dist|coverage|\.[^/]+)(?:\/|$)|^(?:assets|docs\/claims-data|test\/(?:golden|fixtures)|bench\/results|runs)\//;
const COMMENTS = /\.(?:ts|mts|mjs|js|py|ya?ml)$/;

function filesOf(root, path) {
  const name = relative(root, path).split(sep).join('/');
  if (SKIPPED.test(statSync(path).isDirectory() ? `${name}/` : name)) return [];
  if (statSync(path).isDirectory()) return readdirSync(path).sort().flatMap((entry) => filesOf(root, join(path, entry)));
  const isRead = name.endsWith('.md') || (COMMENTS.test(name) && COMMENTED.includes(name.split('/')[0]));
  return isRead ? [name] : [];
}

function blocksOf(name, source) {
  if (name.endsWith('.md')) return markdownBlocks(source);
  if (/\.(?:py|ya?ml)$/.test(name)) return hashBlocks(source, name.endsWith('.py'));
  return scriptBlocks(source, name.startsWith('src/'));
}

const lineAt = ({ lines }, at) => lines.findLast((start) => start.at <= at)?.line ?? lines[0].line;

/** Sentences of a text, each with where it begins. A full stop ends one only before what may begin the next. */
function sentencesOf(text) {
  const found = [];
  let start = 0;
  for (const { index, 0: end } of text.matchAll(/(?<!\b(?:e\.g|i\.e|vs|cf|al|no|fig|eq))[.?!]["')\]]*\s+(?=["'([]*[\p{Lu}\d])/giu)) {
    found.push({ at: start, text: text.slice(start, index + end.length) });
    start = index + end.length;
  }
  return [...found, { at: start, text: text.slice(start) }];
}

const countWords = (text) => text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;

function* phraseFindings(block) {
  for (const [pattern, name, replacement] of PHRASES) {
    for (const { index } of block.text.matchAll(pattern)) yield [index, `"${name}": use ${replacement}`];
  }
  for (const { index, 0: word } of block.text.matchAll(/\b[a-z]+\b/gi)) {
    const right = SPELLING.get(word.toLowerCase());
    if (right !== undefined) yield [index, `spelling "${word}": use "${right}"`];
  }
  if (block.kind === 'table' || block.kind === 'message') return;
  for (const { index, 1: word } of block.text.matchAll(/\b(?!that\b|had\b|CODE\b)([a-z]{2,}) \1\b(?![-\w])/gi))
    yield [index, `"${word}" twice`];
}

function* sentenceFindings(block, limit) {
  if (block.kind !== 'prose' || block.isGenerated) return;
  for (const { at, text } of sentencesOf(block.text)) {
    if (/^["'(]*What\b/.test(text) && !/\?["')]*\s*$/.test(text))
      yield [at, `a sentence begins with "What" ("${text.trim().slice(0, 40)}"): begin with the subject`];
    const words = countWords(text);
    if (words > limit) yield [at, `a sentence of ${words} words, at most ${limit}: "${text.trim().slice(0, 40)}"`];
  }
}

/** Lines of Markdown prose over the limit; tables, code, generated parts and link addresses do not count. */
function* lineFindings(source, blocks) {
  const lines = source.split('\n');
  const prose = blocks.filter(({ kind, isGenerated }) => kind !== 'table' && !isGenerated);
  for (const { line } of prose.flatMap((block) => block.lines)) {
    const text = lines[line - 1].replace(/\]\([^)]*\)/g, ']').replace(/https?:\/\/\S+/g, '');
    if (text.length > MAX_LINE) yield [line, `a line of ${text.length} characters, at most ${MAX_LINE}`];
  }
}

/** Findings of one file as [line, message], in order. */
function check(name, source) {
  const blocks = blocksOf(name, source);
  const isPage = name.endsWith('.md');
  const limit = isPage ? sentenceLimit(name) : Number.POSITIVE_INFINITY;
  const findings = blocks.flatMap((block) =>
    [...phraseFindings(block), ...sentenceFindings(block, limit)].map(([at, what]) => [lineAt(block, at), what]),
  );
  if (isPage) findings.push(...lineFindings(source, blocks));
  return findings.sort(([a], [b]) => a - b);
}

const args = process.argv.slice(2);
const rootAt = args.indexOf('--root');
const root = resolve(rootAt < 0 ? join(import.meta.dirname, '..') : args.splice(rootAt, 2)[1]);
const paths = args.length === 0 ? [root] : args.map((path) => resolve(root, path));

const perFolder = new Map();
let files = 0;
for (const name of new Set(paths.flatMap((path) => filesOf(root, path)))) {
  files++;
  for (const [line, what] of check(name, readFileSync(join(root, name), 'utf8'))) {
    const folder = name.includes('/') ? name.split('/').slice(0, name.startsWith('src/') ? 2 : 1).join('/') : name;
    perFolder.set(folder, (perFolder.get(folder) ?? 0) + 1);
    process.stdout.write(`${name}:${line}: ${what}\n`);
  }
}
const total = [...perFolder.values()].reduce((sum, count) => sum + count, 0);
const folders = [...perFolder].map(([folder, count]) => `${folder} ${count}`).join(', ');
process.stdout.write(`language: ${total} findings in ${files} files${total === 0 ? '' : ` (${folders})`}\n`);
process.exitCode = total === 0 ? 0 : 1;
