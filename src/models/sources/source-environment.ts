import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { type ProgressSink, silentProgress } from '../../base/progress.ts';
import { acceptOpenLicences, type LicenceDecision } from './licence.ts';

/** Environment variables as the process sees them; tests pass their own. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface SourceOptions {
  /** Folder of the model cache; default `FLOODGATE_CACHE`, `XDG_CACHE_HOME/floodgate`, `~/.cache/floodgate`. */
  readonly cacheDir?: string;
  readonly progress?: ProgressSink;
  /** Stops a pull. Bytes fetched are kept, and the next pull resumes. */
  readonly signal?: AbortSignal;
  readonly env?: Environment;
  /** Waits of the HTTP client; tests make them short. */
  readonly timing?: Partial<HttpTiming>;
  /** Receives lines for people: the licence before a pull, and warnings. */
  readonly notify?: (line: string) => void;
  /** Decides about the licence before a pull; default: accepts every licence that asks for no consent. */
  readonly acceptLicence?: LicenceDecision;
}

/** Waits of the HTTP client, in milliseconds. */
export interface HttpTiming {
  /** First wait before a retry; doubles after each attempt without bytes. */
  readonly retryBaseMs: number;
  /** A connection that brings no byte for this long counts as cut. */
  readonly stallTimeoutMs: number;
  /** Longest `Retry-After` that the client accepts. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_TIMING: HttpTiming = { retryBaseMs: 500, stallTimeoutMs: 60_000, maxRetryAfterMs: 300_000 };

/** Options and environment of a source, resolved once. */
export interface SourceSettings {
  readonly cacheDir: string;
  readonly progress: ProgressSink;
  readonly signal: AbortSignal | undefined;
  readonly env: Environment;
  readonly timing: HttpTiming;
  readonly isOffline: boolean;
  notify(line: string): void;
  readonly acceptLicence: LicenceDecision;
}

/** Resolves `options` against the environment. */
export function settleSourceOptions(options: SourceOptions = {}): SourceSettings {
  const env = options.env ?? process.env;
  return {
    cacheDir: resolve(options.cacheDir ?? defaultCacheDir(env)),
    progress: options.progress ?? silentProgress,
    signal: options.signal,
    env,
    timing: { ...DEFAULT_TIMING, ...options.timing },
    notify: options.notify ?? (() => undefined),
    acceptLicence: options.acceptLicence ?? acceptOpenLicences,
    isOffline: isSwitchedOn(env.FLOODGATE_OFFLINE) || isSwitchedOn(env.HF_HUB_OFFLINE),
  };
}

function defaultCacheDir(env: Environment): string {
  if (env.FLOODGATE_CACHE) return env.FLOODGATE_CACHE;
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'floodgate');
}

function isSwitchedOn(value: string | undefined): boolean {
  return value !== undefined && /^(1|on|yes|true)$/i.test(value);
}

/** The hub's address without a trailing slash: `HF_ENDPOINT`, or the public hub. */
export function hubEndpoint(env: Environment): URL {
  const text = env.HF_ENDPOINT || 'https://huggingface.co';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new FloodgateError('config', `read HF_ENDPOINT: not an address, got ${text}, expected http(s)://host`, {
      hint: 'unset HF_ENDPOINT to use the public hub',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new FloodgateError(
      'config',
      `read HF_ENDPOINT: it holds a user name or password, expected ${url.protocol}//${url.host}`,
      {
        hint: 'export HF_TOKEN=… instead; for a mirror that wants a password, put a proxy in front of it',
      },
    );
  }
  url.pathname = url.pathname.replace(/\/+$/, '');
  return url;
}

/**
 * The hub token, or undefined: `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, then the file that `hf auth login` writes
 * (`HF_TOKEN_PATH`, `HF_HOME/token`, `~/.cache/huggingface/token`) unless `HF_HUB_DISABLE_IMPLICIT_TOKEN` is on.
 */
export async function readHubToken(env: Environment): Promise<string | undefined> {
  const direct = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || '').trim();
  if (direct !== '') return checkToken(direct, 'HF_TOKEN');
  if (isSwitchedOn(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  const path = env.HF_TOKEN_PATH || join(hubHome(env), 'token');
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim() === '' ? undefined : checkToken(text.trim(), path);
}

/** The folder of the hub's own tools: `HF_HOME`, or `~/.cache/huggingface`. */
export function hubHome(env: Environment): string {
  if (env.HF_HOME) return env.HF_HOME;
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'huggingface');
}

/** Refuses a token with other than printable ASCII: it would split or break the request header. */
function checkToken(token: string, origin: string): string {
  if (/^[\x21-\x7e]{1,512}$/.test(token)) return token;
  throw new FloodgateError('config', `read the hub token from ${origin}: it holds characters that no token has`, {
    hint: 'export HF_TOKEN=hf_… with the token of https://huggingface.co/settings/tokens',
  });
}
