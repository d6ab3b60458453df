import { setTimeout as wait } from 'node:timers/promises';
import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import { isLoopback } from '../wire/http-client.ts';
import { type Environment, readOwnVariable } from '../wire/secrets.ts';
import { PASSWORD_VARIABLE, type QueueConfig } from './queue-section.ts';
import { tlsOptions } from './tls.ts';

/** The package that puts jobs into Redis. It is loaded only where a queue is used. */
export const BULLMQ_MAJOR = 5;
export const INSTALL_BULLMQ = `npm install bullmq@${BULLMQ_MAJOR}`;

export type Bullmq = typeof import('bullmq');

/** @throws FloodgateError `usage` with the command that installs the package, where it is missing. */
export async function loadBullmq(load: () => Promise<Bullmq> = () => import('bullmq')): Promise<Bullmq> {
  try {
    return await load();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? cause.name) : String(cause);
    const what = code === 'ERR_MODULE_NOT_FOUND' ? 'it is not installed' : `it cannot be loaded: ${reason}`;
    throw new FloodgateError('usage', `queue: it needs the package bullmq; ${what}`, { hint: INSTALL_BULLMQ, cause });
  }
}

/** Where a queue is, and how it is reached. */
export interface QueueAddress {
  /** Without a password. */
  readonly shown: string;
  /** True where only this machine reaches it. */
  readonly isLoopback: boolean;
  readonly prefix: string;
  /** Options of the connection; they hold the password. */
  readonly connection: Readonly<Record<string, unknown>>;
}

/** Longest wait between two attempts to connect again. */
const MOST_RECONNECT_MS = 2000;

/** Holds for every connection: a command waits for Redis to come back, however long that takes. */
const STEADY = {
  maxRetriesPerRequest: null,
  enableOfflineQueue: true,
  connectTimeout: 10_000,
  retryStrategy: (attempt: number) => Math.min(50 * 2 ** Math.min(attempt, 10), MOST_RECONNECT_MS),
} as const;

type AddressConfig = Pick<QueueConfig, 'url' | 'passwordEnv' | 'caFile' | 'prefix'>;

/** @throws FloodgateError `config` for a file of certificates that cannot be read. */
export function queueAddress(config: AddressConfig, env: Environment = process.env): QueueAddress {
  const { passwordEnv, caFile, prefix } = config;
  const url = new URL(config.url);
  const hasPassword = (env[passwordEnv] ?? '').trim() !== '';
  const common = {
    ...STEADY,
    ...(hasPassword ? { password: readOwnVariable(passwordEnv, 'queue.passwordEnv', env) } : {}),
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
  };
  if (url.protocol === 'unix:')
    return { shown: config.url, isLoopback: true, prefix, connection: { ...common, path: url.pathname } };
  const connection = {
    ...common,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    db: Number(url.pathname.slice(1)),
    ...(url.protocol === 'rediss:' ? tlsOptions(caFile) : {}),
  };
  return { shown: config.url, isLoopback: isLoopback(url), prefix, connection };
}

/** The part of BullMQ's classes that a first connection is waited for with. */
interface Connecting {
  waitUntilReady(): Promise<unknown>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** Longest wait for the first connection. Later ones are waited for without an end. */
const FIRST_CONNECTION_MS = 5000;

/** Errors that end a first connection for good, with their hints; any other may pass while Redis starts. */
const REFUSALS: readonly (readonly [RegExp, string])[] = [
  [
    /NOAUTH|WRONGPASS|NOPERM/,
    `set the password of Redis in ${PASSWORD_VARIABLE}, or in the variable of queue.passwordEnv`,
  ],
  [/certificate/i, 'name the PEM file of a certificate that signed its own: queue.caFile, or --ca of a worker'],
];
const UNREACHED = 'start redis-server there, or correct the address';

/** @throws FloodgateError `run` when Redis does not answer in time, or at once when it refuses the password or TLS. */
export async function requireConnection(connecting: Connecting, { shown }: Pick<QueueAddress, 'shown'>): Promise<void> {
  let last = `no answer within ${FIRST_CONNECTION_MS / 1000} s`;
  let fail: (hint: string) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = (hint) => reject(new FloodgateError('run', `queue: cannot reach ${shown}: ${last}`, { hint }));
  });
  const timer = setTimeout(() => fail(UNREACHED), FIRST_CONNECTION_MS);
  const note = (error: Error): void => {
    last = error.message || last;
    const refusal = REFUSALS.find(([pattern]) => pattern.test(last));
    if (refusal !== undefined) fail(refusal[1]);
  };
  connecting.on('error', note);
  try {
    await Promise.race([connecting.waitUntilReady(), failed]);
  } finally {
    clearTimeout(timer);
    connecting.off('error', note);
  }
}

/** The part of ioredis that BullMQ's own interface lacks. */
export interface RawRedis {
  readonly status: string;
  readonly stream?: { destroy(): void };
  ping(): Promise<unknown>;
  xrevrange(key: string, from: '+', to: '-', count: 'COUNT', most: number): Promise<[id: string, fields: string[]][]>;
  on(event: 'ready', listener: () => void): unknown;
}

/** How often a connection is asked whether it is there, and how long it may be silent. */
const PING_MS = 5000;
const SILENT_MS = 15_000;

/**
 * Drops a connection that does not answer, so that it is made again: a network that is cut in the middle closes nothing.
 * ioredis has a timeout of its own, whose timer would keep an ended process alive. @returns stops the watch.
 */
export function watchSilence(client: RawRedis): () => void {
  let askedMs: number | undefined;
  const timer = setInterval(() => {
    const now = monotonicMs();
    if (client.status !== 'ready') askedMs = undefined;
    else if (askedMs === undefined) {
      askedMs = now;
      const heard = (): void => {
        askedMs = undefined;
      };
      client.ping().then(heard, heard);
    } else if (now - askedMs > SILENT_MS) {
      askedMs = undefined;
      client.stream?.destroy();
    }
  }, PING_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Errors of Redis that pass: what failed is tried again later. */
const PASSING = /^(OOM|READONLY|LOADING|MASTERDOWN|BUSY|TRYAGAIN|CLUSTERDOWN)|closed|timeout|ECONN|EPIPE|EAI_AGAIN/i;

export const isPassing = (message: string): boolean => PASSING.test(message);

/** Longest wait for a clean end of a connection that may be cut, and for any end. */
const CLOSE_MS = 3000;
const FORCE_MS = 1000;

/** Ends what talks to Redis, without waiting for a Redis that is gone. */
export async function closeSoon(close: () => Promise<unknown>, force: () => Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), CLOSE_MS);
  });
  const closed = close().then(
    () => 'closed' as const,
    () => 'late' as const,
  );
  const end = await Promise.race([closed, late]);
  clearTimeout(timer);
  if (end === 'late') await Promise.race([force().catch(() => undefined), wait(FORCE_MS)]);
}

const ignore = (): void => undefined;

/** The part of BullMQ's connections that ends them. */
interface Ending {
  /** Of ioredis. */
  readonly _client?: { on(event: 'error', listener: () => void): unknown };
  close(force: boolean): Promise<void>;
  disconnect(wait: boolean): Promise<void>;
  on(event: 'error', listener: () => void): unknown;
}

interface Internals {
  readonly connection?: Ending;
  readonly blockingConnection?: Ending;
  readonly lockManager?: { close(): Promise<void> };
  readonly stalledCheckStopper?: () => void;
}

/** Ends the connections of a worker or a queue, whatever still waits for them. */
export async function disconnect(opened: object): Promise<void> {
  const { connection, blockingConnection, lockManager, stalledCheckStopper } = opened as Internals;
  for (const each of [connection, blockingConnection]) {
    each?.close(true).catch(ignore); // one that was never made
    each?.disconnect(false).catch(ignore); // one whose clean end waits for a Redis that is gone
    // BullMQ has dropped its own listeners: an error that comes late, such as that of TLS, would end the process.
    each?.on('error', ignore);
    each?._client?.on('error', ignore);
  }
  // Its clean end stops these timers last, and they would keep the process alive.
  lockManager?.close().catch(ignore);
  stalledCheckStopper?.();
  await wait(0);
}
