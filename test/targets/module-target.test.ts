import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FloodgateError } from '../../src/base/errors.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';
import { openFrom } from './open-target.ts';
import { asking, describeTargetContract } from './target-contract.ts';

let folder: string;
let files = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-module-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function open(code: string, changes: Record<string, unknown> = {}) {
  const file = join(folder, `module-${files++}.mjs`);
  await writeFile(file, code);
  return openFrom({ kind: 'module', file, ...changes });
}

const ANSWERING = `
export default async ({ attack, seed, signal, maxTokens }) => {
  if (!(signal instanceof AbortSignal) || maxTokens !== 8) throw new Error('asked without its decoding');
  if (attack.includes('please refuse')) return { refused: true };
  if (attack.includes('break down')) throw new TypeError('no idea');
  if (attack.includes('wait for ever')) await new Promise(() => undefined);
  return attack.length % 2 === 0 ? 'yes ' + (seed % 10) : { text: 'no', usage: { tokens: 2 } };
};`;

const decode = { maxNewTokens: 8 };
describeTargetContract('module target', async () => (await open(ANSWERING, { decode })).target, {
  refused: 'please refuse',
  failed: 'break down',
});

const request = (attack: string) => ({ attack, streamName: ['t'] });

describe('a module target', () => {
  const ask = async (code: string, attack = 'a', changes = {}) => {
    const { target } = await open(code, { decode, ...changes });
    return (await target.ask([request(attack)], asking(1)))[0]?.[0];
  };

  it('gives the reason of a failure: what was thrown, a wrong answer, no answer in time', async () => {
    expect(await ask(ANSWERING, 'break down')).toMatchObject({ kind: 'failed', reason: 'it threw TypeError: no idea' });
    const late = await ask(ANSWERING, 'wait for ever', { timeoutSeconds: 0.2 });
    expect(late).toMatchObject({ kind: 'failed', reason: 'no answer within 0.2 s', usage: { calls: 1, tokens: 0 } });
    const wrong = 'export default ({ attack }) => attack === "a" ? { answer: 42 } : "hello";';
    expect(await ask(wrong)).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('{"answer":42}') as string,
    });
    const reason = 'export default () => ({ refused: "not my business" })';
    expect(await ask(reason)).toMatchObject({ kind: 'refused', reason: 'not my business' });
  });

  it('draws from a seed of each response, which is the same in a repeated run', async () => {
    const seeds = 'export default ({ seed }) => String(seed);';
    const draw = async () => (await (await open(seeds)).target.ask([request('a')], asking(3)))[0];
    const first = await draw();
    expect(await draw()).toEqual(first);
    expect(new Set(first?.map((answer) => answer.kind === 'text' && answer.text)).size).toBe(3);
  });

  it('stops the work when the function fails at every question', async () => {
    const { target } = await open(
      'let n = 0; export default () => { if (n++ > 0) throw new Error("down"); return "a"; }',
    );
    const all = Array.from({ length: 40 }, () => request('a'));
    await expect(target.ask(all, asking(1))).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/12 calls in a row failed, the last: it threw Error: down/) as string,
    });
  });

  it('names its file with its hash, and counts the path from the config file', async () => {
    const { facts } = await open(ANSWERING, { decode });
    expect(facts).toMatchObject({ model: expect.stringMatching(/^module .*\.mjs$/) as string });
    expect(facts.sha256).toMatch(/^[0-9a-f]{64}$/);
    const text = minimalConfigText.replace(/target:\n.*\n.*\n/, 'target: { kind: module, file: ./my.mjs }\n');
    expect(parseConfig(text, { fileName: 'f', folder: '/some/where' }).target.file).toBe('/some/where/my.mjs');
  });

  const REFUSALS: [string, string, RegExp, RegExp][] = [
    ['a syntax error', 'export default (', /cannot load/, /node can import/],
    ['no default export', 'export const a = 1;', /no function as its default export/, /export default async/],
    [
      'a function that throws',
      'export default () => { throw new Error("no key") }',
      /it threw Error: no key/,
      /returns a text/,
    ],
    ['a function without an answer', 'export default () => undefined', /it answered undefined/, /returns a text/],
  ];
  it.each(REFUSALS)('is refused before any work for %s', async (_name, code, message, hint) => {
    const error = (await open(code).catch((caught: unknown) => caught)) as FloodgateError;
    expect(error).toMatchObject({ code: 'target' });
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(hint);
  });
});
