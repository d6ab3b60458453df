import { describe, expect, it } from 'vitest';
import { interleave, type Runner } from '../../bench/interleave.ts';

interface Script {
  readonly failsAt?: number;
  readonly failsToStart?: boolean;
}

function fake(log: string[], name: string, script: Script = {}): { name: string; start: () => Runner } {
  return {
    name,
    start: () => ({
      ready: script.failsToStart === true ? Promise.reject(new Error('no start')) : Promise.resolve({ ready: name }),
      run: async (index) => {
        log.push(`${name}${index}`);
        if (index === script.failsAt) throw new Error(`died at ${index}`);
        return { run: index, seconds: index };
      },
      close: async () => {
        log.push(`close ${name}`);
      },
    }),
  };
}

const options = { rounds: 2, warmupRounds: 1, settleMs: 0, onProgress: () => undefined };

describe('interleave', () => {
  it('runs the sides in turn with the same run numbers and counts no warm-up', async () => {
    const log: string[] = [];
    const runs = await interleave([fake(log, 'a'), fake(log, 'b')], options);
    expect(log).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2', 'close a', 'close b']);
    expect(runs.map(({ answers }) => answers.map(({ seconds }) => seconds))).toEqual([
      [1, 2],
      [1, 2],
    ]);
  });

  it('goes on without a side that dies, keeps none of its rounds and closes it', async () => {
    const log: string[] = [];
    const sides = [fake(log, 'a', { failsAt: 2 }), fake(log, 'b')];
    const runs = await interleave(sides, { ...options, rounds: 3 });
    expect(log).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2', 'b3', 'close a', 'close b']);
    expect(runs[0]).toMatchObject({ failure: 'died at 2', answers: [] });
    expect(runs[1]?.answers).toHaveLength(3);
  });

  it('never runs a side that did not come up', async () => {
    const log: string[] = [];
    const [a] = await interleave([fake(log, 'a', { failsToStart: true }), fake(log, 'b')], options);
    expect(log).not.toContain('a0');
    expect(a).toMatchObject({ ready: undefined, failure: 'no start' });
  });
});
