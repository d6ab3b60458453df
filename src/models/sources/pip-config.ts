import { readFile, stat } from 'node:fs/promises';
import { devNull, homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { Environment } from './source-environment.ts';

/** Longest configuration file that is read; a real one has a few lines. */
const MAX_CONFIG_CHARS = 1 << 20;
/** Sections that apply to a download; a later one overrides an earlier one. */
const SECTIONS = ['global', 'install', 'download'] as const;
const DEFAULT_INDEX = 'https://pypi.org/simple';

/** Where packages are, by pip's variables and files. Addresses may hold credentials. */
export interface PipConfig {
  /** Empty under `no-index`. */
  readonly indexUrls: readonly string[];
  /** Folders, pages or wheels. */
  readonly findLinks: readonly string[];
  readonly trustedHosts: readonly string[];
  /** Path of a PEM file of certificate authorities. */
  readonly certPath: string | undefined;
  readonly clientCertPath: string | undefined;
  readonly proxy: string | undefined;
  readonly timeoutMs: number | undefined;
}

type Values = Map<string, string>;

/**
 * Reads pip's own settings, in pip's order: the files of the system, of the user and of the virtual environment, then
 * `PIP_CONFIG_FILE`, then the variables `PIP_…`. `PIP_CONFIG_FILE=/dev/null` reads no file.
 * @throws FloodgateError `config` for a value that cannot be understood.
 */
export async function readPipConfig(env: Environment): Promise<PipConfig> {
  const values: Values = new Map();
  for (const section of await readSections(env)) for (const [key, value] of section) values.set(key, value);
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && value !== '' && name.startsWith('PIP_')) values.set(keyOf(name.slice(4)), value);
  }
  const list = (key: string): string[] => (values.get(key) ?? '').split(/\s+/).filter((item) => item !== '');
  const isIndexed = !readSwitch(values, 'no-index');
  const index = values.get('index-url') ?? values.get('pypi-url') ?? DEFAULT_INDEX;
  return {
    indexUrls: isIndexed ? [index.trim(), ...list('extra-index-url')] : [],
    findLinks: list('find-links').map((link) => expandHome(link, env)),
    trustedHosts: list('trusted-host').map((host) => host.toLowerCase()),
    certPath: values.get('cert') || env.REQUESTS_CA_BUNDLE || env.CURL_CA_BUNDLE || env.SSL_CERT_FILE || undefined,
    clientCertPath: values.get('client-cert') || undefined,
    proxy: values.get('proxy') || undefined,
    timeoutMs: readTimeout(values),
  };
}

/** `Index_URL` → `index-url` */
function keyOf(name: string): string {
  return name.toLowerCase().replaceAll('_', '-').replace(/^--/, '');
}

function readSwitch(values: Values, key: string): boolean {
  const text = values.get(key)?.trim().toLowerCase();
  if (text === undefined || ['0', 'f', 'false', 'n', 'no', 'off'].includes(text)) return false;
  if (['1', 't', 'true', 'y', 'yes', 'on'].includes(text)) return true;
  throw new FloodgateError('config', `read pip's ${key}: got ${JSON.stringify(text)}, expected 1 or 0`, {
    hint: 'python3 -m pip config list shows where it is set',
  });
}

function readTimeout(values: Values): number | undefined {
  const text = values.get('timeout') ?? values.get('default-timeout');
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds > 0) return Math.min(seconds, 86_400) * 1000;
  throw new FloodgateError('config', `read pip's timeout: got ${JSON.stringify(text)}, expected seconds`);
}

function expandHome(path: string, env: Environment): string {
  return path === '~' || path.startsWith('~/') ? join(env.HOME || homedir(), path.slice(1)) : path;
}

/** The sections of all files that apply, in rising priority: a section's name counts before its file. */
async function readSections(env: Environment): Promise<readonly Values[]> {
  const files: Map<string, Values>[] = [];
  for (const path of await configFiles(env)) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text !== undefined) files.push(parsePipConfig(text.slice(0, MAX_CONFIG_CHARS), path));
  }
  return SECTIONS.flatMap((section) => files.flatMap((file) => file.get(section) ?? []));
}

/** Configuration files in rising priority. */
async function configFiles(env: Environment): Promise<readonly string[]> {
  const own = env.PIP_CONFIG_FILE;
  if (own === devNull || own === '/dev/null') return [];
  const hasOwn = own ? await exists(own) : false;
  const environment = env.VIRTUAL_ENV || env.CONDA_PREFIX;
  const name = process.platform === 'win32' ? 'pip.ini' : 'pip.conf';
  return [
    ...systemFiles(env),
    ...(hasOwn ? [] : userFiles(env)), // pip: a named file replaces the user's
    ...(environment ? [join(environment, name)] : []),
    ...(own ? [resolve(own)] : []),
  ];
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function systemFiles(env: Environment): readonly string[] {
  if (process.platform === 'win32') return [join(env.ProgramData || 'C:\\ProgramData', 'pip', 'pip.ini')];
  if (process.platform === 'darwin') return ['/Library/Application Support/pip/pip.conf'];
  const folders = (env.XDG_CONFIG_DIRS || '/etc/xdg').split(':').filter((folder) => folder !== '');
  return [...folders.map((folder) => join(folder, 'pip', 'pip.conf')), '/etc/pip.conf'];
}

function userFiles(env: Environment): readonly string[] {
  const home = env.HOME || env.USERPROFILE || homedir();
  if (process.platform === 'win32') {
    return [join(home, 'pip', 'pip.ini'), join(env.APPDATA || join(home, 'AppData', 'Roaming'), 'pip', 'pip.ini')];
  }
  const inConfig = join(env.XDG_CONFIG_HOME || join(home, '.config'), 'pip', 'pip.conf');
  const inLibrary = join(home, 'Library', 'Application Support', 'pip', 'pip.conf');
  return [join(home, '.pip', 'pip.conf'), inConfig, ...(process.platform === 'darwin' ? [inLibrary] : [])];
}

/**
 * Parses a configuration file of pip: `[section]`, `key = value`, values continued in indented lines, comments.
 * @throws FloodgateError `config` for a line that is none of these, without showing it: it may hold a password.
 */
export function parsePipConfig(text: string, path: string): Map<string, Values> {
  const sections = new Map<string, Values>();
  let section: Values | undefined;
  let key: string | undefined;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*([#;].*)?$/.test(line)) continue;
    const header = /^\[([^\]]+)\]/.exec(line)?.[1];
    const pair = /^([^\s=:][^=:]*?)\s*[=:]\s*(.*)$/.exec(line);
    if (header !== undefined) {
      section = sections.get(header) ?? new Map();
      sections.set(header, section);
      key = undefined;
    } else if (/^\s/.test(line) && section !== undefined && key !== undefined) {
      section.set(key, `${section.get(key)}\n${line.trim()}`);
    } else if (pair !== null && section !== undefined) {
      key = keyOf(pair[1] ?? '');
      section.set(key, (pair[2] ?? '').trim());
    } else {
      throw new FloodgateError('config', `read ${path}: line ${index + 1} is no [section] and no key = value`);
    }
  }
  return sections;
}
