import { z } from 'zod';
import { line } from '../base/config-fields.ts';
import type { HttpCall, HttpReply } from '../wire/http-client.ts';
import { compileTemplate, type FilledRequest, type TemplateRules } from '../wire/http-template.ts';
import { type JsonPath, parseJsonPath, pathsOfTexts } from '../wire/json-path.ts';
import { excerpt, excerptOfValue, WireFailure } from '../wire/wire-failure.ts';
import { environmentHeaders, httpMethod, templateBody, webAddress } from '../wire/wire-fields.ts';
import { defineJudgeKind, type Exchange, judgeOwnName, toVerdict, unscored, type Verdict } from './judge.ts';
import { judgedHead } from './judged-words.ts';
import { callFields, createWireJudge, parseReply } from './wire-judge.ts';

const label = z.union([z.string().trim().min(1).max(200), z.number(), z.boolean()]);
const labels = z.array(label).min(1).max(1000);

const fields = {
  url: webAddress.describe('address of each call; may hold {{response}} and {{attack}}'),
  method: httpMethod,
  body: templateBody().describe('placeholders: {{response}}, {{attack}}, {{env.NAME}}'),
  headers: environmentHeaders,
  score: line.describe('JSONPath of the score or label in the answer, e.g. $.unsafe'),
  range: z
    .strictObject({
      safe: z.number().default(0).describe('the score of a safe answer'),
      unsafe: z.number().default(1).describe('the score of an unsafe answer'),
    })
    .refine(({ safe, unsafe }) => safe !== unsafe, 'must hold two different numbers')
    .prefault({})
    .describe('P(unsafe) runs from 0 to 1 between these scores; a score outside is no score'),
  labels: z
    .strictObject({
      unsafe: labels.describe('P(unsafe) is 1'),
      safe: labels.describe('P(unsafe) is 0'),
    })
    .optional()
    .describe('for a score that is a label; one that is in neither list is no score'),
  name: judgeOwnName,
  ...callFields,
};

type HttpConfig = z.output<z.ZodObject<typeof fields>>;

const TEMPLATE: TemplateRules<keyof Exchange> = {
  section: 'judge',
  names: ['attack', 'response'],
  needed: ['response'],
  hint: 'write {{response}} where the classifier expects the text that it judges',
};

/** A label as it is compared: texts without regard to case. */
function plain(value: unknown): unknown {
  return typeof value === 'string' ? value.trim().toLowerCase() : value;
}

/** P(unsafe) of a label; undefined for one that no list holds. */
function labelScore(found: unknown, { unsafe, safe }: NonNullable<HttpConfig['labels']>): number | undefined {
  const has = (list: readonly unknown[]): boolean => list.map(plain).includes(plain(found));
  return has(unsafe) ? 1 : has(safe) ? 0 : undefined;
}

function verdictOf(found: unknown, { labels: named, range, score }: HttpConfig, name: string): Verdict {
  if (named !== undefined) {
    const known = labelScore(found, named);
    const what = `${name}: ${score} finds ${excerptOfValue(found)}, which is in neither list of labels`;
    return known === undefined ? unscored(what) : toVerdict(known, name);
  }
  if (typeof found !== 'number') return unscored(`${name}: ${score} finds ${excerptOfValue(found)}, expected a number`);
  return toVerdict((found - range.safe) / (range.unsafe - range.safe), name);
}

/** The value in a reply. @throws WireFailure for a reply in which there is none. */
function find(path: JsonPath, reply: HttpReply): unknown {
  const document = parseReply(reply, z.unknown(), 'JSON');
  const refuse = (what: string): WireFailure =>
    new WireFailure('protocol', `${path.text} ${what} in ${excerpt(reply.text)}`, { isTransient: false });
  let found: unknown;
  try {
    found = path.first(document);
  } catch (cause) {
    throw refuse(`cannot be looked for (${cause instanceof Error ? cause.message : String(cause)})`);
  }
  if (found !== undefined) return found;
  const paths = pathsOfTexts(document);
  throw refuse(`finds nothing${paths.length === 0 ? '' : `, texts are at ${paths.join(', ')},`}`);
}

function callOf({ method }: HttpConfig, { url, headers, body, contentType }: FilledRequest): HttpCall {
  const type = contentType === undefined ? {} : { 'content-type': contentType };
  return { method, url, headers: { ...type, ...headers }, body };
}

function httpName({ name, url }: Pick<HttpConfig, 'name' | 'url'>): string {
  const { host, pathname } = new URL(url);
  return name ?? `http/${host}${pathname}`;
}

export const http = defineJudgeKind({
  name: 'http',
  describe: 'a classifier behind any HTTP interface, by a template of its requests and a JSONPath of its answers',
  fields,
  nameOf: httpName,
  open: async (config) => {
    const name = httpName(config);
    const fill = compileTemplate<Exchange>(config, TEMPLATE);
    const path = parseJsonPath(config.score, 'judge.score');
    return createWireJudge({
      name,
      config,
      hint: 'check url, method and headers of the judge',
      score: async ({ attack, response }, ask) => {
        const filled = fill({ attack: judgedHead(attack), response: judgedHead(response) });
        return verdictOf(await ask(callOf(config, filled), (reply) => find(path, reply)), config, name);
      },
    });
  },
});
