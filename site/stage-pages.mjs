// Turns the documents of the repository into pages of the site. Links between documents become links between pages; a
// link to another file of the repository becomes a link to a copy of it.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix, relative, resolve } from 'node:path';
import { OTHER_PAGES } from './sidebar.mjs';

export const ROOT = resolve(import.meta.dirname, '..');

/** Copies of files that are no pages are below this folder of the site. */
const FILES = 'files';

/** @returns {Map<string, string>} the path of each document in the repository, and its page */
export function pageNames(root = ROOT) {
  const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
  return new Map([...docs.map((name) => [`docs/${name}`, name]), ...Object.entries(OTHER_PAGES)]);
}

/** The text with each piece outside code changed by `change`. A fence is a span of code, too: three marks on each side. */
const outsideCode = (text, change) =>
  text
    .split(/(`+)([\s\S]*?[^`])\1(?!`)/)
    .map((piece, i, all) => (i % 3 === 0 ? change(piece) : i % 3 === 1 ? `${piece}${all[i + 1]}${piece}` : ''))
    .join('');

/** The anchor that a heading gets, here and on the site alike. */
export const anchorOf = (heading) =>
  heading
    .replace(/[`*]|\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');

/** @returns {string[]} the headings of a document, without those in code */
export const headings = (text) => [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, words]) => words);

/** @returns {string} the first heading of a document */
export const titleOf = (text) => headings(text)[0] ?? 'Untitled';

/**
 * Reads the documents and rewrites them as pages; writes nothing.
 * @returns {{ pages: Map<string, string>, files: Map<string, string>, problems: string[] }} pages with their text, the
 * files to copy (place on the site, path in the repository), and a line for each link that leads nowhere
 */
export function stagePages(root = ROOT) {
  const names = pageNames(root);
  const staged = { pages: new Map(), files: new Map(), problems: [] };
  for (const [path, page] of names) {
    const text = readFileSync(join(root, path), 'utf8');
    const link = linkRewriter({ root, names, path, page, text, staged });
    const body = outsideCode(text.replace(/<!--[\s\S]*?-->\n?/g, ''), (piece) =>
      piece.replace(/(?<=\]\()[^()\s]+(?=\))/g, link),
    );
    staged.pages.set(page, body);
  }
  return staged;
}

function linkRewriter({ root, names, path, page, text, staged }) {
  const bad = (link, why) => {
    staged.problems.push(`${path}: ${link}: ${why}`);
    return link;
  };
  return (link) => {
    if (/^[a-z]+:/.test(link)) return link;
    const [target, anchor] = link.split('#', 2);
    const found = target === '' ? path : posix.normalize(posix.join(posix.dirname(path), target));
    const file = join(root, found);
    if (found.startsWith('..') || !existsSync(file) || !statSync(file).isFile()) return bad(link, 'there is no such file');
    if (anchor !== undefined) {
      const there = found === path ? text : readFileSync(file, 'utf8');
      if (!headings(there).some((heading) => anchorOf(heading) === anchor)) return bad(link, 'no heading has this anchor');
    }
    const hash = anchor === undefined ? '' : `#${anchor}`;
    if (target === '') return hash;
    const to = names.get(found);
    if (to !== undefined) return `./${posix.relative(posix.dirname(page), to)}${hash}`;
    const isImage = /\.(?:png|svg)$/.test(found);
    // A browser shows it as text; without the ending the site would take it for a page.
    const place = isImage ? posix.basename(found) : /\.(?!md$)\w+$/.test(found) ? found : `${found}.txt`;
    staged.files.set(isImage ? `images/${place}` : `public/${FILES}/${place}`, relative(root, file));
    return isImage ? `./images/${place}` : `/${FILES}/${place}`;
  };
}

