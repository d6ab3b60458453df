import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';

/** Longest page that is read; the largest projects of the public index have a few megabytes. */
export const MAX_PAGE_BYTES = 32 * 1024 * 1024;
/** Most files of one page; stops a page that is all links. */
const MAX_LINKS = 200_000;

/** One file that an index page lists. */
export interface IndexLink {
  readonly filename: string;
  readonly url: URL;
  /** Of the content; undefined where the page has none. */
  readonly sha256: string | undefined;
  readonly bytes: number | undefined;
  /** Why the author withdrew the file (PEP 592): perhaps an empty text; undefined when it was not withdrawn. */
  readonly yanked: string | undefined;
}

const SHA256 = /^[0-9a-f]{64}$/i;

const jsonPage = z.object({
  meta: z.object({ 'api-version': z.string().regex(/^1\.\d+$/) }),
  files: z.array(
    z.object({
      filename: z.string(),
      url: z.string(),
      hashes: z.record(z.string(), z.string()).nullish(),
      size: z.int().nonnegative().nullish(),
      yanked: z.union([z.boolean(), z.string()]).nullish(),
    }),
  ),
});

/** The answer of an index. */
export interface IndexPage {
  readonly text: string;
  /** Media type with its parameters, or null. */
  readonly contentType: string | null;
  /** Address that answered: relative links count from it. */
  readonly url: URL;
}

/**
 * Reads the files that a page of a package index lists: JSON (PEP 691) or HTML (PEP 503). A link that is no http(s)
 * address is left out; a page on this machine may link to its neighbours too.
 * @throws FloodgateError `source` when JSON has another shape, or the page is neither.
 */
export function parseIndexPage(page: IndexPage): readonly IndexLink[] {
  const type = (page.contentType ?? 'text/html').split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/vnd.pypi.simple.v1+json' || type === 'application/json') return parseJsonPage(page);
  if (/^(text\/html|application\/xhtml\+xml|application\/vnd\.pypi\.simple\.v1\+html)$/.test(type)) {
    return parseHtmlPage(page);
  }
  throw notAPage(page, `content of type ${type.slice(0, 80)}`);
}

function notAPage({ url }: IndexPage, got: string, cause?: unknown): FloodgateError {
  return new FloodgateError('source', `read ${url.host}: got ${got}, expected a page of a package index`, {
    hint: 'check PIP_INDEX_URL: it ends in /simple on most servers, and a proxy or login page may answer in its place',
    cause,
  });
}

function parseJsonPage(page: IndexPage): readonly IndexLink[] {
  let listed: z.infer<typeof jsonPage>;
  try {
    listed = jsonPage.parse(JSON.parse(page.text));
  } catch (cause) {
    throw notAPage(page, 'JSON of another shape', cause);
  }
  return listed.files.slice(0, MAX_LINKS).flatMap(({ filename, url: text, hashes, size, yanked }) => {
    const url = linkTarget(text, page.url);
    if (url === undefined) return [];
    const reason = yanked === true ? '' : typeof yanked === 'string' ? yanked : undefined;
    return [{ filename, url, sha256: toSha256(hashes?.sha256), bytes: size ?? undefined, yanked: reason }];
  });
}

function toSha256(text: string | undefined): string | undefined {
  return text !== undefined && SHA256.test(text) ? text.toLowerCase() : undefined;
}

/** An http(s) address, or a file where the page itself is one. */
function linkTarget(text: string, base: URL): URL | undefined {
  if (!URL.canParse(text, base.href)) return undefined;
  const url = new URL(text, base);
  const isFile = url.protocol === 'file:' && base.protocol === 'file:';
  return isFile || /^https?:$/.test(url.protocol) ? url : undefined;
}

const ATTRIBUTE = /([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?/g;

function parseHtmlPage(page: IndexPage): readonly IndexLink[] {
  const links: IndexLink[] = [];
  let base = page.url;
  let hasBase = false;
  for (const { name, rest } of readTags(page.text)) {
    if (name !== 'a' && name !== 'base') continue;
    const attributes = readAttributes(rest);
    const href = attributes.get('href')?.trim();
    const url = href === undefined ? undefined : linkTarget(href, base);
    if (url === undefined) continue;
    if (name === 'base') {
      if (!hasBase) base = url;
      hasBase = true;
      continue;
    }
    links.push(toLink(url, attributes.get('data-yanked')));
    if (links.length >= MAX_LINKS) break;
  }
  return links;
}

interface Tag {
  readonly name: string;
  /** Text between the name and the `>`. */
  readonly rest: string;
}

/** Elements whose content is no markup, whatever it looks like. */
const RAW_ELEMENTS = /^(script|style|textarea|title|template|noscript|iframe|xmp)$/;

/** The opening tags of a page, comments and raw text left out. Passes over the text once, however broken it is. */
function* readTags(text: string): Generator<Tag> {
  let at = text.indexOf('<');
  while (at !== -1) {
    if (text.startsWith('<!--', at)) {
      const end = text.indexOf('-->', at + 4);
      at = end === -1 ? -1 : text.indexOf('<', end);
      continue;
    }
    const name = /^[a-z][a-z0-9]{0,15}(?=[\s/>])/i.exec(text.slice(at + 1, at + 18))?.[0].toLowerCase();
    if (name === undefined) {
      at = text.indexOf('<', at + 1);
      continue;
    }
    const from = at + 1 + name.length;
    const end = endOfTag(text, from);
    if (end === -1) return;
    if (RAW_ELEMENTS.test(name)) {
      at = text.slice(end).search(new RegExp(`</${name}`, 'i'));
      if (at === -1) return;
      at = text.indexOf('<', end + at + 1);
      continue;
    }
    yield { name, rest: text.slice(from, end) };
    at = text.indexOf('<', end);
  }
}

/** Index of the `>` that ends a tag: a quoted value may hold others. -1 when there is none. */
function endOfTag(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const character = text[at] ?? '';
    if (character === '>') return at;
    if (character !== '"' && character !== "'") continue;
    at = text.indexOf(character, at + 1);
    if (at === -1) return -1;
  }
  return -1;
}

/** The file of a link: its name is the end of the path, its hash the fragment. */
export function toLink(address: URL, yanked: string | undefined): IndexLink {
  const url = new URL(address);
  const sha256 = toSha256(/[#&]sha256=([0-9a-f]+)/i.exec(url.hash)?.[1]);
  url.hash = '';
  return { filename: decode(url.pathname.split('/').at(-1) ?? ''), url, sha256, bytes: undefined, yanked };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Attributes by lower-case name; of two with one name the first counts, as in a browser. */
function readAttributes(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const [, name = '', double, single, bare] of text.matchAll(ATTRIBUTE)) {
    const key = name.toLowerCase();
    if (!found.has(key)) found.set(key, unescapeHtml(double ?? single ?? bare ?? ''));
  }
  return found;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescapeHtml(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]+));/gi, (whole, hex, decimal, name) => {
    if (name !== undefined) return ENTITIES[String(name).toLowerCase()] ?? whole;
    const code = hex === undefined ? Number(decimal) : Number.parseInt(String(hex), 16);
    return code > 0 && code <= 0x10_ff_ff ? String.fromCodePoint(code) : whole;
  });
}
