import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openScorer } from '../../src/models/decoder/scorer.ts';
import { testPath } from '../support/golden-file.ts';

const ROWS = 12;
const MIN_TOKENS = 4;

test('rows with more positions than are read at once have the log-probs of each row alone', async () => {
  const cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-scorer-'));
  try {
    const checkpoint = await openCheckpoint(testPath('fixtures', 'models', 'smollm2'), { cacheDir });
    if (checkpoint.kind !== 'decoder') throw new TypeError('smollm2 is no decoder');
    const { config, weights } = checkpoint;
    const end = config.vocabSize - 1;
    const scorer = await openScorer(
      { config, weights, contextTokens: 32, bans: { always: [0], end: [end] } },
      { device: 'cpu', threads: 1 },
    );
    try {
      const ids = (count: number, of: number) => Array.from({ length: count }, (_, t) => 1 + ((31 * t + 7 * of) % 30));
      // Positions 0 to 3 of each row ban the end: bans differ within a read, and from one read to the next.
      const rows = Array.from({ length: ROWS }, (_, of) => [...ids(5 + of, of), end]);
      const prompt = ids(6, 99);
      expect(rows.flat().length).toBeGreaterThan(2 * 64);
      const together = await scorer.score({ prompt, rows }, MIN_TOKENS);
      for (const [i, row] of rows.entries()) {
        const [alone] = await scorer.score({ prompt, rows: [row] }, MIN_TOKENS);
        expect([...(together[i] as Float32Array)]).toEqual(
          [...(alone as Float32Array)].map((x) => expect.closeTo(x, 4)),
        );
      }
    } finally {
      await scorer.close();
    }
  } finally {
    await rm(cacheDir, { recursive: true });
  }
});
