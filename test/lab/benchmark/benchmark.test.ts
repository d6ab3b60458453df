import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadAttacker } from '../../../lab/benchmark/load-attacker.ts';
import {
  type BenchmarkWorld,
  type ProposingAttacker,
  scoreAttacker,
  type Turn,
} from '../../../lab/benchmark/score-attacker.ts';
import { packageFile } from '../../../src/base/package-root.ts';
import { lab } from '../lab-runner.ts';

/** Attack `k` holds way k, for k below 4; every other text is harmless. Counts what it is asked. */
function ruleWorld() {
  let asked = 0;
  const wayOf = (attack: string): number[] => (/^[0-3]$/.test(attack) ? [Number(attack)] : []);
  const world: BenchmarkWorld = {
    seeds: ['a seed'],
    ways: 4,
    ask: async (attacks, responses) => {
      asked += attacks.length * responses;
      return attacks.map((attack) => ({ attack, answer: 'x', unsafe: wayOf(attack).length > 0 ? 0.9 : 0.1 }));
    },
    heldBy: async (attacks) => attacks.map(wayOf),
  };
  return { world, asked: () => asked };
}

const options = { budget: 10, seed: 1, batch: 4, fresh: { attacks: 4, responses: 5 } };
const proposing = (propose: ProposingAttacker['propose'], sample?: ProposingAttacker['sample']): ProposingAttacker => ({
  name: 'test',
  propose,
  ...(sample === undefined ? {} : { sample }),
});

describe('a trial of an attacker', () => {
  it('scores the ways by the calls after which they were found, and fresh attacks apart', async () => {
    const script = ['none', '2', '2', '0', 'none', '3'];
    const { world, asked } = ruleWorld();
    const attacker = proposing(
      ({ history, count }) => script.slice(history.length, history.length + count),
      () => ['0', '1', 'none'],
    );
    expect(await scoreAttacker(attacker, world, options)).toEqual({
      calls: 6,
      successes: 4,
      foundAt: [2, 4, 6],
      planted: 4,
      found: 0.75,
      area: expect.closeTo(0.8 + 0.6 + 0.4, 12),
      // Three of the four fresh attacks came, two of them succeed.
      fresh: { asr: 0.5, ways: 0.5 },
    });
    expect(asked()).toBe(6 + 3 * 5);
  });

  it('has a hard cap of calls, whatever is proposed', async () => {
    const { world, asked } = ruleWorld();
    const counts: number[] = [];
    const greedy = proposing(({ count, left }) => {
      counts.push(count, left);
      return new Array(1000).fill('0');
    });
    const score = await scoreAttacker(greedy, world, options);
    expect(score).toMatchObject({ calls: 10, foundAt: [1], successes: 10 });
    expect(score.fresh).toBeUndefined();
    expect(asked()).toBe(10);
    expect(counts).toEqual([4, 10, 4, 6, 2, 2]);
  });

  it('tells the attacker its answers, and takes no success from it', async () => {
    const turns: Turn[] = [];
    const cheating = proposing((turn) => {
      turns.push(turn);
      (turn.history as unknown[]).push({ attack: '3', answer: 'x', unsafe: 1 });
      return turns.length === 1 ? ['0', 'none'] : [];
    });
    expect(await scoreAttacker(cheating, ruleWorld().world, options)).toMatchObject({ calls: 2, foundAt: [1] });
    expect(turns[1]?.history.slice(0, 2)).toEqual([
      { attack: '0', answer: 'x', unsafe: 0.9 },
      { attack: 'none', answer: 'x', unsafe: 0.1 },
    ]);
    expect(turns[0]?.seeds).toEqual(['a seed']);
  });

  it('refuses a proposal that is no list of texts', async () => {
    for (const wrong of [undefined, 'text', [1], { 0: 'a' }]) {
      const attacker = proposing(() => wrong as unknown as string[]);
      await expect(scoreAttacker(attacker, ruleWorld().world, options)).rejects.toThrow(
        /test\.propose: got .*expected a list of texts/,
      );
    }
  });
});

describe('the module of an attacker', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'floodgate-attacker-'));
  });
  afterAll(() => rm(folder, { recursive: true }));
  const { signal } = new AbortController();

  it('is TypeScript or JavaScript, and leaves nothing beside it', async () => {
    const types = "import type { Nothing } from './nowhere.ts';\nconst name: string = 'mine';\n";
    const typed = join(folder, 'typed.ts');
    await writeFile(typed, `${types}export default { name, propose: (turn: Nothing): string[] => [] };`);
    const plain = join(folder, 'plain.mjs');
    await writeFile(plain, "export default { name: 'plain', propose: () => ['a'] };");
    expect((await loadAttacker(typed, signal)).name).toBe('mine');
    expect((await loadAttacker(plain, signal)).name).toBe('plain');
    expect((await readdir(folder)).sort()).toEqual(['plain.mjs', 'typed.ts']);
    const example = await loadAttacker(packageFile('lab/benchmark/hill-climber.ts').pathname, signal);
    expect(example.name).toBe('hill climber');
  });

  it('is refused when it is absent or exports no attacker', async () => {
    const empty = join(folder, 'empty.mjs');
    await writeFile(empty, 'export default { name: "no" };');
    await expect(loadAttacker(empty, signal)).rejects.toThrow(/exports no attacker by default/);
    const { code, stderr } = await lab(['benchmark', join(folder, 'none.ts'), '--budget', '500', '--runs-dir', folder]);
    expect(code).toBe(2);
    expect(stderr).toContain('none.ts: it cannot be loaded');
    expect((await lab(['benchmark', empty, '--budget', '501'])).code).toBe(2);
  });
});
