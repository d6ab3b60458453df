import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import { compileTemplate, type FilledRequest, hasPlaceholder, OF_TARGETS } from '../wire/http-template.ts';
import { type JsonPath, parseJsonPath } from '../wire/json-path.ts';
import { headerName, httpMethod, templateBody, webAddress } from '../wire/wire-fields.ts';
import type { AskedAddress } from './wire-errors.ts';

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

export interface Step {
  readonly every: 'run' | 'call';
  readonly config: StepConfig;
  readonly fill: (draw: object) => FilledRequest;
  readonly take: readonly (readonly [string, JsonPath])[];
  readonly asked: AskedAddress;
}

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
