import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { makeOrClose, openTogether } from '../../src/base/open-together.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { cpu } from '../models/open-fixture.ts';
import { testPath } from '../support/golden-file.ts';

/** Something that tells in `log` when it is closed. */
const closable = (name: string, log: string[]) => ({
  close: async (): Promise<void> => {
    log.push(name);
  },
});

test('when one opening fails, the others are closed, late ones too, and the failure is told', async () => {
  const log: string[] = [];
  const openings = openTogether([
    async () => closable('early', log),
    () => {
      throw new Error('no graph');
    },
    async () => setTimeout(20, closable('late', log)),
  ]);
  await expect(openings).rejects.toThrow('no graph');
  expect(log).toEqual(['early', 'late']);
});

test('things are closed when nothing can be made of them, and left open otherwise', async () => {
  const log: string[] = [];
  const fail = () => Promise.reject(new Error('too large'));
  await expect(makeOrClose([closable('a', log), closable('b', log)], fail)).rejects.toThrow('too large');
  expect(await makeOrClose([closable('c', log)], () => 5)).toBe(5);
  expect(log).toEqual(['a', 'b']);
});

test('a generator of which one session cannot be opened leaves none open', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'floodgate-together-'));
  try {
    const checkpoint = await openCheckpoint(testPath('fixtures', 'models', 'smollm2'), { cacheDir: folder });
    if (checkpoint.kind !== 'decoder') throw new TypeError('the fixture is a decoder');
    const { config, weights } = checkpoint;
    // Read by the last of the three sessions alone.
    const unsized = Object.defineProperty({ ...config }, 'vocabSize', {
      get: () => {
        throw new Error('no size of the vocabulary');
      },
    });
    const bans = { end: [], always: [] };
    const opening = openGenerator({ config: unsized, weights, contextTokens: 32, bans, withLogProbs: false }, cpu);
    await expect(opening).rejects.toThrow('no size of the vocabulary');
    expect(liveSessionLabels()).toEqual([]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
