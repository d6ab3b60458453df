import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { type HeldSecrets, holdSecrets } from '../base/errors.ts';
import type { Caller } from '../wire/caller.ts';
import type { HttpCall, HttpReply } from '../wire/http-client.ts';
import { compileTemplate, type Draw, type FilledRequest, hasPlaceholder, OF_TARGETS } from '../wire/http-template.ts';
import { type JsonPath, parseJsonPath, pathsOfTexts } from '../wire/json-path.ts';
import { looksSecret, secretForms } from '../wire/secrets.ts';
import { excerpt, isLasting, WireFailure } from '../wire/wire-failure.ts';
import { headerName, httpMethod, templateBody, webAddress } from '../wire/wire-fields.ts';
import { type AskedAddress, toWireError } from './wire-errors.ts';

/** Calls before the attack, whose answers are carried over: a login, a new conversation. */

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

export const requestBody = templateBody({
  json: ', with {{attack}} in one of its texts',
  form: ', with {{attack}} in one of them',
});

/** A value in place of a name would be stored with the run. */
export const templateHeaders = z
  .record(
    headerName,
    z
      .string()
      .max(2000)
      .refine(
        (text) => VARIABLE.test(text) || hasPlaceholder(text),
        'must be the name of an environment variable, not a value; or a text with a placeholder, e.g. Bearer {{token}}',
      ),
  )
  .default({});

const RESERVED: readonly string[] = OF_TARGETS.names;

const step = z.strictObject({
  method: httpMethod,
  url: webAddress.describe('address of the call'),
  headers: templateHeaders.describe('as target.headers'),
  body: requestBody.describe('as target.body; secrets by {{env.NAME}}'),
  take: z
    .record(z.string(), line)
    .default({})
    .refine(
      (take) => Object.keys(take).every((name) => VARIABLE.test(name) && !RESERVED.includes(name)),
      `must name each value by letters, digits and _, and by none of ${RESERVED.join(', ')}`,
    )
    .describe('names for values of the answer, each with its JSONPath: token: $.token is {{token}} later'),
  every: z
    .enum(['run', 'call'])
    .default('run')
    .describe('run: once, and again after a status 401; call: before each attack, e.g. a new conversation'),
});

/** The calls before, as a config has them. */
export const beforeField = z
  .array(step)
  .max(10)
  .default([])
  .refine(
    (steps) => steps.every(({ every }, i) => every === 'call' || steps[i - 1]?.every !== 'call'),
    'must hold the calls of every: run before those of every: call',
  )
  .describe('calls before the attack, whose answers and cookies are carried over: login, session');

type StepConfig = z.output<typeof step>;

type Taken = Readonly<Record<string, string>>;

interface Step {
  readonly every: 'run' | 'call';
  readonly config: StepConfig;
  readonly fill: (draw: object) => FilledRequest;
  readonly take: readonly (readonly [string, JsonPath])[];
  readonly asked: AskedAddress;
}

/** Cookies by the host that set them. */
type Cookies = Readonly<Record<string, Taken>>;

/** The values that the calls before left. */
export interface Session {
  readonly taken: Taken;
  readonly cookies: Cookies;
}

const EMPTY: Session = { taken: {}, cookies: {} };

/** The calls before the attack, compiled. */
export interface Before {
  readonly steps: readonly Step[];
  /** Names that later templates may use. */
  readonly names: readonly string[];
}

function compileStep(config: StepConfig, index: number, names: readonly string[]): Step {
  const section = `target.before[${index}]`;
  return {
    every: config.every,
    config,
    fill: compileTemplate<object>(config, { section, names, needed: [], hint: '' }),
    take: Object.entries(config.take).map(([name, path]) => [name, parseJsonPath(path, `${section}.take.${name}`)]),
    asked: {
      key: `${section}.url`,
      url: new URL(config.url.replaceAll(/[{}]/g, '')),
      keyHint: `check the variables that ${section} names`,
      notFoundHint: `check the path of ${section}.url, and ${section}.method`,
      requestHint: `check ${section}.take, and that the app accepts ${section}.body as it is`,
    },
  };
}

/** @throws FloodgateError `config` for a template, a path or a variable that is wrong. */
export function compileBefore(configs: readonly StepConfig[]): Before {
  const own = RESERVED.filter((name) => name !== 'attack');
  const taken = (before: number): string[] => configs.slice(0, before).flatMap(({ take }) => Object.keys(take));
  const steps = configs.map((config, i) => compileStep(config, i, [...own, ...taken(i)]));
  return { steps, names: taken(configs.length) };
}

/** The call of a filled request, with the cookies of its host. */
export function callOf(method: string, filled: FilledRequest, { cookies }: Session): HttpCall {
  const { url, headers, body, contentType } = filled;
  const type = contentType === undefined ? {} : { 'content-type': contentType };
  const own = Object.entries(cookies[url.hostname] ?? {}).map(([name, value]) => `${name}=${value}`);
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
    return name === undefined || value === undefined ? [] : [[name, value.trim()] as const];
  });
  for (const [name, value] of set) keep(name, value);
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
