import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fillTables } from '../../bench/doc-tables.ts';
import type { BenchResult } from '../../bench/report.ts';
import { forwardFlops, microStepFlops, trainStepFlops } from '../../bench/sides/flops.ts';
import { createIdTokenizer } from '../../bench/sides/id-tokenizer.ts';
import { judgeConfig, stepShape } from '../../bench/sides/shapes.ts';
import { WORKS } from '../../bench/works.ts';
import { createInputEncoder } from '../../src/models/encoder/encoder-input.ts';

const groups = WORKS.flatMap((work) => work.groups({ gguf: () => 'model.gguf' }));

describe('works', () => {
  it('compare only sides that they run', () => {
    for (const { sides, ratios } of groups) {
      const names = sides.map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
      for (const { top, bottom } of ratios) expect(names).toEqual(expect.arrayContaining([top.side, bottom.side]));
    }
  });

  it('name peers that exist', () => {
    const scripts = groups.flatMap(({ sides }) => sides).filter(({ program }) => program === 'python');
    for (const { script } of scripts) {
      expect(() => readFileSync(new URL(`../../bench/peers/${script}`, import.meta.url))).not.toThrow();
    }
  });

  it('each have their place in docs/performance.md', () => {
    const page = readFileSync(fileURLToPath(new URL('../../docs/performance.md', import.meta.url)), 'utf8');
    expect([...page.matchAll(/<!-- bench:([a-z0-9-]+) -->/g)].map((match) => match[1])).toEqual(
      WORKS.map(({ name }) => name),
    );
  });
});

describe('fillTables', () => {
  const spread = { median: 4.5, min: 4, max: 5, all: [4, 5] };
  const result: BenchResult = {
    schemaVersion: 1,
    work: 'train-step',
    title: 'step',
    date: '2026-01-02T03:04:05.000Z',
    rounds: 2,
    warmupRounds: 1,
    threads: 2,
    isSmall: false,
    machine: { cpu: 'CPU', cores: 2, memoryBytes: 2 ** 33, system: 'linux x64', loadBefore: 0.1 },
    versions: { node: '20' },
    groups: [
      {
        name: 'fp32',
        sides: [
          {
            name: 'peer',
            versions: { torch: '2' },
            settings: {},
            importMemoryBytes: 1,
            startMemoryBytes: 1,
            figures: { seconds: spread },
          },
        ],
        ratios: [
          {
            label: 'peer / ours',
            top: { side: 'peer', figure: 'seconds' },
            bottom: { side: 'ours', figure: 'seconds' },
            goal: { atLeast: 4 },
            value: spread,
            isReached: true,
          },
        ],
      },
    ],
  };
  const page =
    'before\n<!-- bench:train-step -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:other -->\n<!-- /bench -->\n';

  it('writes what was measured and nothing else, and the same again when run twice', () => {
    const filled = fillTables(page, (work) => (work === 'train-step' ? result : undefined));
    expect(filled).toContain('| peer / ours | 4.50 (4.00..5.00) | >= 4, reached |');
    expect(filled).toContain('CPU, 2 cores, 8 GiB');
    expect(filled).toContain('torch 2');
    expect(filled).not.toContain('old');
    expect(filled).toContain('\nbetween\n');
    expect(filled).toContain('Not measured yet on an idle machine: `npm run bench -- --work other`');
    expect(fillTables(filled, (work) => (work === 'train-step' ? result : undefined))).toBe(filled);
  });
});

describe('flops', () => {
  it('count the weights of GPT-2 small: 84,934,656 in its layers, 38,597,376 in its head', () => {
    const { config } = stepShape(false);
    expect(forwardFlops(config, 1, 0)).toBe(2 * 84_934_656);
    expect(forwardFlops(config, 0, 1)).toBe(2 * 38_597_376);
  });

  it('give the training step 180 GFLOP and the micro-step 2.2 TFLOP', () => {
    expect(trainStepFlops(stepShape(false)) / 1e9).toBeCloseTo(179.5, 0);
    expect(microStepFlops(stepShape(false), judgeConfig(false)) / 1e12).toBeGreaterThan(1.5);
    expect(microStepFlops(stepShape(false), judgeConfig(false)) / 1e12).toBeLessThan(3);
  });
});

describe('createIdTokenizer', () => {
  it('gives the judge the ids as they are, between its control tokens', () => {
    const tokenizer = createIdTokenizer(100, { endId: 2, frame: [0, 2] });
    const encode = createInputEncoder({ tokenizer, maxTokens: 10, hasDoubleSeparator: true });
    expect(encode({ text: tokenizer.decode([11, 12, 99]) }).ids).toEqual([0, 11, 12, 99, 2]);
  });
});
