import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const root = resolve(import.meta.dirname, '../..');

const { pageNames } = (await import(join(root, 'site/stage-pages.mjs'))) as {
  pageNames: (root?: string) => Map<string, string>;
};

/** A fenced block of a document. */
export interface DocBlock {
  /** Document and line of the first line inside, as an editor opens it: `docs/serve.md:8`. */
  readonly place: string;
  readonly document: string;
  /** The first word after the fence; empty where it names none. */
  readonly language: string;
  readonly text: string;
}

const FENCE = /^ *(`{3,}|~{3,}) *([^\s`]*)/;

/** @throws Error for a fence that is never closed. */
export function blocksOf(document: string, markdown: string): DocBlock[] {
  const lines = markdown.split('\n');
  const blocks: DocBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [, fence = '', language = ''] = FENCE.exec(lines[at] ?? '') ?? [];
    if (fence === '') continue;
    const end = lines.findIndex((line, i) => i > at && line.trim() === fence);
    if (end < 0) throw new Error(`${document}:${at + 1}: the fence is never closed`);
    blocks.push({
      place: `${document}:${at + 2}`,
      document,
      language,
      text: lines.slice(at + 1, end).join('\n'),
    });
    at = end;
  }
  return blocks;
}

/** Every document that is a page of the site, by its name in the repository. */
export function readDocuments(): Map<string, string> {
  return new Map([...pageNames(root).keys()].map((name) => [name, readFileSync(join(root, name), 'utf8')]));
}
