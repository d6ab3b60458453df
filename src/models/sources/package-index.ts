import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FloodgateError } from '../../base/errors.ts';
import { basicAuthorization, type Credentials, hideCredentials, readNetrc, takeCredentials } from './credentials.ts';
import { type HttpSession, readText, requestUrl, withRetries } from './http-session.ts';
import { isLoopback } from './hub-session.ts';
import { type IndexLink, MAX_PAGE_BYTES, parseIndexPage, toLink } from './index-page.ts';
import type { WheelSpec } from './model-spec.ts';
import { type PipConfig, readPipConfig } from './pip-config.ts';
import { proxyFor } from './proxy.ts';
import { DEFAULT_TIMING, type SourceSettings } from './source-environment.ts';

/** Something that only pip itself can do, or something that fits only its own configuration. */
export class PipNeeded extends Error {}

/** Answers in the order of our preference (PEP 691). */
const ACCEPT = 'application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.1';

const HINT =
  'run the same command again to resume; PIP_INDEX_URL names another index, and FLOODGATE_PYTHON=python3 fetches through pip';

/** A place that may list wheels. */
export interface PackagePlace {
  /** For people, without credentials. */
  readonly label: string;
  /** Files that it lists for a project. Empty where it does not know the project. */
  list(project: string): Promise<readonly IndexLink[]>;
}

export interface PackageIndex {
  /** In the order in which they are asked. */
  readonly places: readonly PackagePlace[];
  /** Fetches a file that a place listed. */
  readonly session: HttpSession;
}

interface Access {
  readonly config: PipConfig;
  /** Credentials of the addresses in the configuration, by origin. */
  readonly byOrigin: Map<string, Credentials>;
  readonly byHost: ReadonlyMap<string, Credentials>;
}

/**
 * Opens the package index that pip's own settings name. Credentials go to the origin that they were given for, or to
 * the host that netrc names, and to nobody else.
 * @throws FloodgateError `config` for settings that cannot be understood; PipNeeded for those that only pip follows.
 */
export async function openPackageIndex(settings: SourceSettings): Promise<PackageIndex> {
  const config = await readPipConfig(settings.env);
  const access: Access = { config, byOrigin: new Map(), byHost: await readNetrc(settings.env) };
  const links = config.findLinks.map((link) => [link, toAddress(link, access, 'find-links')] as const);
  const indexes = config.indexUrls.map((index) => toAddress(index, access, 'index-url'));
  const session = await createSession(settings, access, indexes[0]);
  const places = await Promise.all(links.map(([link, url]) => openFindLinks(session, link, url)));
  return { session, places: [...places, ...indexes.map((url) => openSimpleIndex(session, url))] };
}

/** The address without its credentials, which are kept for its origin; undefined for a path of this machine. */
function toAddress(text: string, access: Access, key: 'find-links' | 'index-url'): URL {
  const isAddress = /^[a-z][a-z0-9+.-]+:\/\//i.test(text);
  if (!isAddress && key === 'find-links') return pathToFileURL(resolve(text));
  if (!isAddress || !URL.canParse(text)) {
    throw new FloodgateError(
      'config',
      `read pip's ${key}: got ${JSON.stringify(text.slice(0, 120))}, expected an address`,
      {
        hint: 'python3 -m pip config list and the variables PIP_… show where it is set',
      },
    );
  }
  const { url, credentials } = takeCredentials(new URL(text));
  if (!/^(https?|file):$/.test(url.protocol)) throw new PipNeeded(`${key} is a ${url.protocol} address`);
  if (key === 'index-url' && url.protocol === 'file:') throw new PipNeeded('the index is a folder');
  if (credentials !== undefined) access.byOrigin.set(url.origin, credentials);
  return url;
}

async function createSession(
  settings: SourceSettings,
  { config, byOrigin, byHost }: Access,
  endpoint: URL = new URL('file:///'),
): Promise<HttpSession> {
  const ca = await readPem(config.certPath, 'cert');
  const clientCertificate = await readPem(config.clientCertPath, 'client-cert');
  const { timing } = settings;
  const isDefault = timing.stallTimeoutMs === DEFAULT_TIMING.stallTimeoutMs;
  const stallTimeoutMs = isDefault ? (config.timeoutMs ?? timing.stallTimeoutMs) : timing.stallTimeoutMs;
  const find = (url: URL): Credentials | undefined =>
    byOrigin.get(url.origin) ?? (isPrivate(url) ? byHost.get(url.hostname.toLowerCase()) : undefined);
  return {
    endpoint,
    timing: { ...timing, stallTimeoutMs },
    signal: settings.signal,
    hint: HINT,
    authorization: (url) => {
      const credentials = find(url);
      if (credentials === undefined) return {};
      hideCredentials(credentials);
      return { authorization: basicAuthorization(credentials.user, credentials.password) };
    },
    route: (url) => ({
      ca,
      clientCertificate: url.origin === endpoint.origin ? clientCertificate : undefined,
      isUnverified: isTrusted(config, url),
      proxy: proxyFor(url, settings.env, config.proxy),
    }),
    ensureAllowed: (url) => ensurePrivate(config, url),
    refusal: (got, status, url) => refusal(got, status, url, find(url) !== undefined),
  };
}

/** Reads a PEM file that the configuration names. */
async function readPem(path: string | undefined, key: string): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) throw new PipNeeded(`${key} is a folder of certificates`);
  const text = found === undefined ? '' : await readFile(path, 'utf8');
  if (text.includes('-----BEGIN ')) return text;
  throw new FloodgateError('config', `read pip's ${key}: there is no certificate in ${path}, expected a PEM file`, {
    hint: 'PIP_CERT, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and SSL_CERT_FILE name it, in this order',
  });
}

/** Whether nobody on the way can read what is sent. */
function isPrivate(url: URL): boolean {
  return url.protocol === 'https:' || isLoopback(url.hostname);
}

function isTrusted({ trustedHosts }: PipConfig, url: URL): boolean {
  return trustedHosts.includes(url.hostname.toLowerCase()) || trustedHosts.includes(url.host.toLowerCase());
}

/** @throws FloodgateError `source` for plain http, unless pip's settings trust the host. */
function ensurePrivate(config: PipConfig, url: URL): void {
  if (isPrivate(url) || isTrusted(config, url)) return;
  throw new FloodgateError('source', `read ${url.host}: it is asked over plain http, expected https`, {
    hint: `use its https address, or PIP_TRUSTED_HOST=${url.hostname} if nobody can read or change what it sends`,
  });
}

/** A file or page that is not there: the next place may have it. */
export class NotThere extends FloodgateError {}

function refusal(got: string, status: number, url: URL, hasCredentials: boolean): FloodgateError {
  if (status === 404 || status === 410) return new NotThere('source', got, { hint: HINT });
  if ((status === 401 || status === 403) && !hasCredentials) {
    // A keyring may know the password, and only pip can ask it.
    return new CredentialsNeeded('source', `${got}: it wants a user and a password`, {
      hint: `add them to ~/.netrc: machine ${url.hostname} login USER password PASSWORD`,
    });
  }
  return new FloodgateError('source', `${got}, expected 200`, { hint: HINT });
}

/** The server wants credentials, and neither the settings nor netrc have any. */
export class CredentialsNeeded extends FloodgateError {}

/** An index with one page a project: `INDEX/PROJECT/` (PEP 503, PEP 691). */
function openSimpleIndex(session: HttpSession, index: URL): PackagePlace {
  const label = index.host;
  return {
    label,
    list: async (project) => {
      const url = new URL(index);
      url.pathname = `${url.pathname.replace(/\/+$/, '')}/${project}/`;
      try {
        return await readPage(session, url);
      } catch (error) {
        if (error instanceof NotThere) return [];
        throw error;
      }
    },
  };
}

async function readPage(session: HttpSession, url: URL): Promise<readonly IndexLink[]> {
  const operation = `list ${url.host}${url.pathname}`;
  return withRetries(session, operation, async () => {
    const response = await requestUrl(session, url, operation, { accept: ACCEPT });
    const text = await readText(response, MAX_PAGE_BYTES, operation);
    return parseIndexPage({ text, contentType: response.headers.get('content-type'), url: response.url });
  });
}

/** A folder, a page, or one wheel (`find-links`). */
async function openFindLinks(session: HttpSession, text: string, url: URL): Promise<PackagePlace> {
  if (/\.whl$/i.test(url.pathname)) return { label: labelOf(url), list: async () => [toLink(url, undefined)] };
  if (url.protocol !== 'file:') return { label: labelOf(url), list: () => readPage(session, url) };
  const path = fileURLToPath(url);
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return { label: text, list: () => listFolder(path) };
  if (found?.isFile() && /\.html?$/i.test(path)) return { label: text, list: () => readLocalPage(path, found.size) };
  return { label: text, list: async () => [] }; // pip passes over a place that is not there
}

function labelOf(url: URL): string {
  return url.protocol === 'file:' ? fileURLToPath(url) : url.host;
}

async function listFolder(folder: string): Promise<readonly IndexLink[]> {
  const names = await readdir(folder);
  return names.map((name) => ({ ...toLink(pathToFileURL(join(folder, name)), undefined), filename: name }));
}

async function readLocalPage(path: string, bytes: number): Promise<readonly IndexLink[]> {
  if (bytes > MAX_PAGE_BYTES) throw new FloodgateError('source', `read ${path}: the page is too long`);
  return parseIndexPage({ text: await readFile(path, 'utf8'), contentType: 'text/html', url: pathToFileURL(path) });
}

/** The spec as pip writes it. */
export function requirementOf({ project, version }: WheelSpec): string {
  return `${project}==${version}`;
}
