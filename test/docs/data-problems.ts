import { reportSchema } from '../../src/report/figures/report-json.ts';
import { sarifErrors } from '../exports/sarif-schema.ts';

const sarifLog = (result: object): object => ({
  version: '2.1.0',
  runs: [{ tool: { driver: { name: 'floodgate' } }, results: [result] }],
});

/** Pieces of JSON by a key that tells what each is part of. */
const CHECKS: Readonly<Record<string, (value: object) => readonly unknown[]>> = {
  schemaVersion: (report) => reportSchema.safeParse(report).error?.issues ?? [],
  ruleId: (result) => sarifErrors(sarifLog(result)),
  // A row of an export has a type, and no schema: the compiler checks it (typed-blocks.ts).
  causeSha256: () => [],
};

const checkKey = (value: object): string | undefined => Object.keys(CHECKS).find((key) => key in value);

/** Whether the JSON is a row of `floodgate export --format jsonl`. */
export function isExportedRow(text: string): boolean {
  return checkKey(JSON.parse(text) as object) === 'causeSha256';
}

/** Returns the problems of a piece of JSON that we write. @throws SyntaxError for a text that is no JSON. */
export function jsonProblems(text: string): readonly unknown[] {
  const value = JSON.parse(text) as object;
  const key = checkKey(value);
  return key === undefined ? ['no check knows it'] : (CHECKS[key]?.(value) ?? []);
}

/** A tag or a text; attributes are quoted. */
const PIECE = /<(\/?)([A-Za-z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/gy;

/** Returns the problems of a piece of XML, a line each; it has no comments and no declarations. */
export function xmlProblems(text: string): string[] {
  const open: string[] = [];
  let end = 0;
  for (const { index, 0: piece, 1: closes, 2: name, 4: isEmpty, 5: content } of text.trim().matchAll(PIECE)) {
    end = index + piece.length;
    if (content !== undefined && /&(?!(?:amp|lt|gt|quot|apos|#\d+);)/.test(content)) return [`${content}: a bare &`];
    if (name === undefined || isEmpty === '/') continue;
    if (closes === '') open.push(name);
    else if (open.pop() !== name) return [`</${name}>: another element is open`];
  }
  if (end < text.trim().length) return [`cannot be read at ${JSON.stringify(text.trim().slice(end, end + 20))}`];
  return open.map((name) => `<${name}>: it is never closed`);
}
