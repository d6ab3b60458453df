// Reads a built site as a browser would: links and anchors, which pages a sidebar reaches, and what it loads.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';

const PAGE = /\.html$/;
/** Pages that VitePress makes of its own accord. */
const OWN = new Set(['404.html']);

const all = (text, pattern) => [...text.matchAll(pattern)].map(([, value]) => value.replaceAll('&amp;', '&'));

/** The file of the site behind a link, and its anchor; undefined for another site. */
function placeOf(link, page, base) {
  if (/^[a-z][a-z+.-]*:|^\/\//.test(link)) return undefined;
  const [path = '', anchor = ''] = link.split('#', 2);
  const [plain] = path.split('?', 1);
  const absolute = plain === '' ? `/${page}` : plain.startsWith('/') ? `/${plain.slice(base.length)}` : posix.join('/', posix.dirname(page), plain);
  const file = absolute.endsWith('/') ? `${absolute}index.html` : absolute;
  return { file: decodeURIComponent(file.slice(1)), anchor: decodeURIComponent(anchor) };
}

const LOADED = /<(?:script|img|iframe|source)[^>]*\ssrc="([^"]*)"|<link(?=[^>]*\srel="(?:stylesheet|modulepreload|preload[^"]*)")[^>]*\shref="([^"]*)"/g;

/** @returns {string[]} addresses of other places that a page or a style would load by itself */
function loadedElsewhere(name, text) {
  const given = PAGE.test(name) ? [...text.matchAll(LOADED)].map(([, src, href]) => src ?? href) : [];
  const styled = name.endsWith('.css') ? all(text, /(?:url\(|@import\s+)["']?([^"')]*)/g) : [];
  return [...given, ...styled].filter((address) => /^(?:https?:)?\/\//.test(address));
}

/**
 * @param {string} folder the built site
 * @param {readonly string[]} args of the build; `--base` is read
 * @returns {Promise<{ found: string[], pageCount: number, linkCount: number }>} a line for each problem
 */
export async function checkSite(folder, args = []) {
  const base = args.includes('--base') ? args[args.indexOf('--base') + 1] : '/';
  const names = readdirSync(folder, { recursive: true })
    .map((name) => name.split('\\').join('/'))
    .filter((name) => statSync(join(folder, name)).isFile());
  const texts = new Map(
    names.filter((name) => /\.(?:html|css)$/.test(name)).map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
  );
  const pages = [...texts.keys()].filter((name) => PAGE.test(name) && !OWN.has(name));
  const ids = new Map(pages.map((name) => [name, new Set(all(texts.get(name), /\sid="([^"]*)"/g))]));
  const found = [];
  const reached = new Set();
  let linkCount = 0;
  for (const page of pages) {
    const html = texts.get(page);
    const [, sidebar = ''] = /<aside class="VPSidebar"[^>]*>([\s\S]*?)<\/aside>/.exec(html) ?? [];
    for (const link of all(sidebar, /\shref="([^"]*)"/g)) reached.add(placeOf(link, page, base)?.file);
    for (const link of all(html, /<a\s[^>]*?href="([^"]*)"/g)) {
      const place = placeOf(link, page, base);
      if (place === undefined) continue;
      linkCount++;
      if (!names.includes(place.file)) found.push(`${page}: ${link}: there is no such page`);
      else if (place.anchor !== '' && ids.get(place.file)?.has(place.anchor) === false)
        found.push(`${page}: ${link}: no such anchor`);
    }
  }
  for (const page of pages) if (!reached.has(page)) found.push(`${page}: no sidebar names it`);
  for (const [name, text] of texts)
    for (const address of loadedElsewhere(name, text)) found.push(`${name}: loads ${address}`);
  return { found: [...new Set(found)], pageCount: pages.length, linkCount };
}
