import { type HeldSecrets, holdSecrets } from '../base/errors.ts';
import type { Caller } from '../wire/caller.ts';
import { type HttpCall, type HttpReply, isLoopback } from '../wire/http-client.ts';
import type { Draw, FilledRequest } from '../wire/http-template.ts';
import { pathsOfTexts } from '../wire/json-path.ts';
import { looksSecret, secretForms } from '../wire/secrets.ts';
import { excerpt, isLasting, WireFailure } from '../wire/wire-failure.ts';
import type { Before, Step } from './http-steps.ts';
import { type AskedAddress, toWireError } from './wire-errors.ts';

type Taken = Readonly<Record<string, string>>;

interface Cookie {
  readonly value: string;
  /** Not for an open connection to another machine. */
  readonly isSecure: boolean;
}

/** Cookies by the host that set them, and by their name. */
type Cookies = Readonly<Record<string, Readonly<Record<string, Cookie>>>>;

/** The values that the calls before left. */
export interface Session {
  readonly taken: Taken;
  readonly cookies: Cookies;
}

const EMPTY: Session = { taken: {}, cookies: {} };

/** The call of a filled request, with the cookies of its host. */
export function callOf(method: string, filled: FilledRequest, { cookies }: Session): HttpCall {
  const { url, headers, body, contentType } = filled;
  const type = contentType === undefined ? {} : { 'content-type': contentType };
  const isSafe = url.protocol === 'https:' || isLoopback(url);
  const mine = Object.entries(cookies[url.hostname] ?? {}).filter(([, { isSecure }]) => isSafe || !isSecure);
  const own = mine.map(([name, { value }]) => `${name}=${value}`);
  const all = [...(headers.cookie === undefined ? [] : [headers.cookie]), ...own].join('; ');
  return { method, url, headers: { ...type, ...headers, ...(all === '' ? {} : { cookie: all }) }, body };
}

/** Most cookies that one host may set. Stops it from filling every request. */
const MAX_COOKIES = 50;

/** Keeps a value that the app handed out secret. */
type Keep = (name: string, value: string) => void;

function withCookies(cookies: Cookies, { hostname }: URL, setCookies: readonly string[], keep: Keep): Cookies {
  const set = setCookies.slice(0, MAX_COOKIES).flatMap((text) => {
    const [, name, value] = /^\s*([^=;\s]+)\s*=\s*([^;]*)/.exec(text) ?? [];
    if (name === undefined || value === undefined) return [];
    return [[name, { value: value.trim(), isSecure: /;\s*secure\s*(;|$)/i.test(text) }] as const];
  });
  for (const [name, { value }] of set) keep(name, value);
  return set.length === 0 ? cookies : { ...cookies, [hostname]: { ...cookies[hostname], ...Object.fromEntries(set) } };
}

/** The form of a reply to a login, without its texts: they may hold the session. */
function shapeOf(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return value !== null && typeof value === 'object' ? `an object with ${Object.keys(value).length} keys` : `${value}`;
}

/** A reply that is no JSON, as a page shows why; any other text may be the session itself. */
function shownReply({ text, contentType }: HttpReply): string {
  if (/^\s*</.test(text)) return excerpt(text);
  return `${text.length} characters of ${contentType === '' ? 'no content type' : contentType}`;
}

function takeValues({ take, config, asked }: Step, reply: HttpReply, keep: Keep): Taken {
  if (take.length === 0) return {};
  let document: unknown;
  try {
    document = JSON.parse(reply.text);
  } catch {
    const message = `${config.method} ${asked.url.pathname} answered ${reply.status} without JSON: ${shownReply(reply)}`;
    throw new WireFailure('protocol', message, { isTransient: false });
  }
  return Object.fromEntries(
    take.map(([name, path]) => {
      const value = path.first(document);
      if (typeof value === 'string' || typeof value === 'number') {
        keep(name, String(value));
        return [name, String(value)];
      }
      const what = value === undefined ? 'finds nothing' : `finds ${shapeOf(value)}, expected a text`;
      const paths = pathsOfTexts(document);
      const others = paths.length === 0 ? '' : `; texts are at ${paths.join(', ')}`;
      throw new WireFailure('protocol', `take.${name}: ${path.text} ${what}${others}`, { isTransient: false });
    }),
  );
}

interface Asking {
  readonly signal: AbortSignal;
  readonly keep: Keep;
  /** A status 401 is left to a new login. */
  readonly mayRenew: boolean;
}

/** Sessions of a run whose values are kept secret at once: answers to the earlier ones may still be under way. */
const KEPT_SESSIONS = 16;

/** Opens sessions over one wire. Calls share the part of the run until it is dropped. */
export class SessionKeeper {
  private readonly before: Before;
  private readonly caller: Caller;
  private shared: Promise<Session> | undefined;
  private readonly held: HeldSecrets[] = [];
  private readonly failures = new WeakMap<WireFailure, { readonly asked: AskedAddress; readonly call: HttpCall }>();

  constructor(before: Before, caller: Caller) {
    this.before = before;
    this.caller = caller;
  }

  /** Whether a new login may help. */
  get canRenew(): boolean {
    return this.before.steps.some(({ every }) => every === 'run');
  }

  /** The part of the run; the first caller makes its calls, and the others wait. */
  private open(draw: Omit<Draw, 'attack'>, signal: AbortSignal): Promise<Session> {
    const { shared } = this;
    if (shared !== undefined) return shared;
    const held = holdSecrets();
    this.held.push(held);
    if (this.held.length > KEPT_SESSIONS) this.held.shift()?.release();
    const keep: Keep = (_name, value) => {
      for (const form of secretForms(value)) held.add(form);
    };
    const opened = this.run('run', EMPTY, draw, { signal, keep, mayRenew: false });
    this.shared = opened;
    opened.catch(() => this.drop(opened));
    return opened;
  }

  /** As `open`; a login that its first caller gave up is made again for the others. */
  async join(
    draw: Omit<Draw, 'attack'>,
    signal: AbortSignal,
  ): Promise<{ readonly shared: Promise<Session>; readonly session: Session }> {
    for (;;) {
      const shared = this.open(draw, signal);
      try {
        return { shared, session: await shared };
      } catch (error) {
        const isOfOther = !signal.aborted && error instanceof Error && error.name === 'AbortError';
        if (!isOfOther) throw error;
        this.drop(shared);
      }
    }
  }

  /** Forgets a session that the app no longer accepts; one that took its place since is kept. */
  drop(stale: Promise<Session>): void {
    if (this.shared === stale) this.shared = undefined;
  }

  /**
   * The session of one attack.
   * @param held takes the values of this session. @param isRenewed that of the run is new: another login would not help.
   */
  forCall(
    shared: Session,
    draw: Omit<Draw, 'attack'>,
    {
      signal,
      held,
      isRenewed,
    }: { readonly signal: AbortSignal; readonly held: HeldSecrets; readonly isRenewed: boolean },
  ): Promise<Session> {
    const keep: Keep = (name, value) => {
      for (const form of secretForms(value)) held.add(form, !looksSecret(name, value));
    };
    return this.run('call', shared, draw, { signal, keep, mayRenew: !isRenewed && this.canRenew });
  }

  /** The call before the attack that a failure is of; undefined for one of the attack itself. */
  placeOf(error: unknown): { readonly asked: AskedAddress; readonly call: HttpCall } | undefined {
    return error instanceof WireFailure ? this.failures.get(error) : undefined;
  }

  private async run(every: Step['every'], from: Session, draw: object, how: Asking): Promise<Session> {
    let session = from;
    for (const each of this.before.steps.filter((one) => one.every === every))
      session = await this.take(each, session, draw, how);
    return session;
  }

  private async take(each: Step, session: Session, draw: object, how: Asking): Promise<Session> {
    const { config, asked } = each;
    const { signal, keep, mayRenew } = how;
    const call = callOf(config.method, each.fill({ ...draw, ...session.taken }), session);
    try {
      return await this.caller.call(
        call,
        (reply) => ({
          // Cookies first: they are kept secret where no value is found.
          cookies: withCookies(session.cookies, call.url, reply.setCookies ?? [], keep),
          taken: { ...session.taken, ...takeValues(each, reply, keep) },
        }),
        signal,
      );
    } catch (error) {
      // The session of a call may have ended with that of the run: who asked for it renews that one first.
      const hasEnded = mayRenew && error instanceof WireFailure && error.status === 401;
      if (error instanceof WireFailure && isLasting(error) && !hasEnded) throw toWireError(error, asked, call);
      if (error instanceof WireFailure) this.failures.set(error, { asked, call });
      throw error;
    }
  }
}
