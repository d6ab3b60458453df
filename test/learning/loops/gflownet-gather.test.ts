import { describe, expect, test } from 'vitest';
import { AskedBatches } from '../../../src/learning/loops/asked-batches.ts';
import { CellCalls } from '../../../src/learning/loops/cell-calls.ts';
import type { GflownetOptions } from '../../../src/learning/loops/gflownet.ts';
import { gather, keepAttacks, toCandidate } from '../../../src/learning/loops/gflownet-gather.ts';
import { type GflownetParts, rewardOf } from '../../../src/learning/loops/gflownet-parts.ts';
import { varGrad } from '../../../src/learning/objectives/vargrad.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import type { ReplayBufferOptions } from '../../../src/learning/replay/replay-entry.ts';
import { WordingClusters } from '../../../src/learning/replay/wording-clusters.ts';
import type { RewardFunction, RewardRequest } from '../../../src/learning/reward/reward.ts';
import { SuccessPool } from '../../../src/learning/reward/spread.ts';
import { fakeAttacker } from './fake-attacker.ts';

const RATE = { peak: 1e-3, warmupUpdates: 0, decay: 'constant', totalUpdates: 9 } as const;

function optionsOf(changes: Partial<GflownetOptions> = {}): GflownetOptions {
  return {
    objective: varGrad(),
    updates: 9,
    batchSize: 10,
    accumulation: 2,
    learningRate: RATE,
    logZLearningRate: RATE,
    gradientClip: 1,
    weightDecay: 0,
    reward: {
      beta: 0.5,
      gamma: { from: 2, to: 4, updates: 10 },
      temperature: { from: 3, to: 2, updates: 10 },
    },
    fluency: { form: { kind: 'mean' }, minTokens: 0, shortPenalty: -50 },
    truncationPenalty: false,
    freshShare: 0.5,
    temperedShare: 0.3,
    temperatures: { low: 0.5, high: 2 },
    rewriteShare: 0,
    rewriteChange: 0.3,
    updatesPerBatch: 1,
    askedAhead: 0,
    replayBy: 'judge',
    rescoreReplay: false,
    seed: 1,
    ...changes,
  };
}

const scoreOf = (meanUnsafe: number) => ({ logS: Math.log(meanUnsafe), meanUnsafe, responses: 2 });

/** Scores by the number of tokens; the evidence is the stream that the responses drew from. */
const byLength: RewardFunction<string> = async (requests) =>
  requests.map(({ text, streamName }) => ({
    score: scoreOf(1 / (1 + text.split(' ').length)),
    evidence: streamName.join('/'),
  }));

function partsWith(reward: RewardFunction<string> = byLength, buffered: Partial<ReplayBufferOptions> = {}) {
  const { attacker, temperatures } = fakeAttacker();
  const asked: (readonly RewardRequest[])[] = [];
  const settled: number[] = [];
  const parts: GflownetParts<string> = {
    attacker,
    policy: { parameters: {} } as GflownetParts<string>['policy'],
    reference: {},
    buffer: createReplayBuffer({ nearEditRatio: null, ...buffered }),
    openReward: () => ({ reward: (requests) => parts.reward(requests), settle: () => settled.push(asked.length) }),
    asked: new AskedBatches(),
    reward: (requests) => {
      asked.push(requests);
      return reward(requests);
    },
  };
  return { parts, asked, settled, temperatures };
}

const withReward = (parts: GflownetParts<string>, reward: RewardFunction<string>): GflownetParts<string> => ({
  ...parts,
  reward,
  openReward: () => ({ reward, settle: () => undefined }),
});

test('log R is that of its update: fluency over gamma, log S over beta, over the temperature', () => {
  const attack = { fluency: -8, logPRef: -99, score: scoreOf(0.5) } as Parameters<ReturnType<typeof rewardOf>>[0];
  const rewardAt = (update: number) => rewardOf(optionsOf(), update)(attack);
  expect(rewardAt(0)).toBeCloseTo((-8 / 2 + Math.log(0.5) / 0.5) / 3, 12);
  expect(rewardAt(5)).toBeCloseTo((-8 / 3 + Math.log(0.5) / 0.5) / 2.5, 12);
  expect(rewardAt(10)).toBeCloseTo((-8 / 4 + Math.log(0.5) / 0.5) / 2, 12);
});

describe('the fresh attacks of an update', () => {
  test('are the asked share of it, some of them tempered, each with its own stream of responses', async () => {
    const { parts, asked, temperatures } = partsWith();
    const { rows, unscored, attackTokens } = await gather(parts, optionsOf(), 4);
    expect(rows.map(({ source }) => source)).toEqual([...Array(7).fill('fresh'), ...Array(3).fill('tempered')]);
    expect(temperatures.slice(0, 7)).toEqual(Array(7).fill(1));
    for (const temperature of temperatures.slice(7)) {
      expect(temperature).toBeGreaterThanOrEqual(0.5);
      expect(temperature).toBeLessThan(2);
    }
    expect(new Set(temperatures).size).toBe(4);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.map(({ streamName }) => streamName)).toEqual(rows.map((_, row) => ['response', 4, row]));
    expect(rows.map(({ evidence }) => evidence)).toEqual(rows.map((_, row) => `response/4/${row}`));
    expect(unscored).toEqual([]);
    const tokens = rows.reduce((sum, row) => sum + row.tokens.length + (row.terminated ? 1 : 0), 0);
    expect(attackTokens).toBe(tokens);
  });

  test('are others in another update, and the same in the same one', async () => {
    const textsAt = async (update: number) =>
      (await gather(partsWith().parts, optionsOf(), update)).rows.map((row) => row.text);
    expect(await textsAt(3)).toEqual(await textsAt(3));
    expect(await textsAt(4)).not.toEqual(await textsAt(3));
  });

  test('carry the shaped fluency and the true log p_ref, and go into the buffer with both', async () => {
    const { parts } = partsWith();
    const { rows } = await gather(parts, optionsOf(), 0);
    for (const row of rows) {
      const factors = row.tokens.length + (row.terminated ? 1 : 0);
      const logPi = (row as { logPi?: number }).logPi as number; // the fake's policy is its reference
      expect((row as { logPRef?: number }).logPRef).toBeCloseTo(logPi, 5);
      expect(row.fluency).toBeCloseTo(logPi / factors, 5);
      const entry = parts.buffer.all().find(({ text }) => text === row.text);
      expect(entry).toMatchObject({ fluency: row.fluency, source: row.source, addedAtUpdate: 0 });
      expect(entry?.logPRef).toBeCloseTo(logPi, 5);
      expect(entry).not.toHaveProperty('evidence');
    }
  });

  test('are at least one, whatever the share', async () => {
    const { parts } = partsWith();
    expect((await gather(parts, optionsOf({ freshShare: 0 }), 0)).rows).toHaveLength(1);
  });
});

describe('attacks that cannot be scored', () => {
  /** Every second attack has no score. */
  const half: RewardFunction<string> = async (requests) =>
    (await byLength(requests)).map((result, i) =>
      i % 2 === 0 ? { ...result, score: undefined, reason: 'NaN' } : result,
    );
  const none: RewardFunction<string> = async (requests) =>
    requests.map(({ text }) => ({ score: undefined, evidence: text, reason: 'the judge is gone' }));

  test('are left out of update and buffer, and kept with their evidence', async () => {
    const { parts } = partsWith(half);
    const { rows, unscored } = await gather(parts, optionsOf(), 2);
    expect(rows.map(({ evidence }) => evidence)).toEqual([1, 3, 5, 7, 9].map((row) => `response/2/${row}`));
    expect(unscored.map(({ evidence }) => evidence)).toEqual([0, 2, 4, 6, 8].map((row) => `response/2/${row}`));
    for (const attack of unscored) expect(attack).not.toHaveProperty('score');
    const buffered = parts.buffer.all().map(({ text }) => text);
    for (const { text } of unscored) expect(buffered).not.toContain(text);
  });

  test('leave each embedding beside its own attack', async () => {
    const { parts } = partsWith(half, { nearCosine: 0.999999 });
    const embed = (text: string): Float32Array => {
      const hash = [...text].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) % 1000, 0);
      const angle = (2 * Math.PI * hash) / 1000;
      return Float32Array.of(Math.cos(angle), Math.sin(angle));
    };
    await gather({ ...parts, embed: async (texts) => texts.map(embed) }, optionsOf(), 2);
    expect(parts.buffer.size).toBe(5);
    for (const { text, embedding } of parts.buffer.all()) expect(embedding).toEqual(embed(text));
  });

  test('end the stage with their reason when there is nothing else, and do not when there is replay', async () => {
    const { parts } = partsWith();
    await gather(parts, optionsOf(), 0);
    const failing = withReward(parts, none);
    const { rows, unscored } = await gather(failing, optionsOf(), 1);
    expect(unscored).toHaveLength(10);
    expect(new Set(rows.map(({ source }) => source))).toEqual(new Set(['replay']));
    await expect(gather({ ...failing, buffer: createReplayBuffer() }, optionsOf(), 1)).rejects.toMatchObject({
      code: 'judge',
      message: 'update 1: none of its 10 attacks could be scored: the judge is gone',
    });
  });
});

describe('replayed attacks', () => {
  test('fill the update up, with the fluency and score that they had and no evidence', async () => {
    const { parts } = partsWith();
    await gather(parts, optionsOf(), 0);
    const before = new Map(parts.buffer.all().map((entry) => [entry.text, entry]));
    const { rows } = await gather(parts, optionsOf(), 1);
    const replayed = rows.filter(({ source }) => source === 'replay');
    expect(replayed).toHaveLength(Math.min(10, before.size));
    expect(rows.slice(0, 10).every(({ source }) => source !== 'replay')).toBe(true);
    for (const row of replayed) {
      const entry = before.get(row.text);
      const known = { tokens: entry?.tokens, fluency: entry?.fluency, score: entry?.score };
      expect(row).toMatchObject(known);
      for (const key of ['evidence', 'id', 'addedAtUpdate', 'embedding']) expect(row).not.toHaveProperty(key);
    }
  });

  test('are drawn by the shares of a mix: with failures alone, no success comes while there are failures', async () => {
    const { parts } = partsWith();
    const alternating: RewardFunction<string> = async (requests) =>
      requests.map(({ text }, i) => ({ score: { ...scoreOf(i % 2 === 0 ? 0.9 : 0.1) }, evidence: text }));
    const embed = async (texts: readonly string[]) => texts.map(() => Float32Array.of(1, 0));
    const mixed = { ...parts, embed, clusters: new WordingClusters(0.75), reward: alternating };
    await gather(mixed, optionsOf(), 0);
    const failed = parts.buffer.all().filter(({ score }) => score.meanUnsafe < 0.5).length;
    const { rows } = await gather(mixed, optionsOf({ mix: { clusters: 0, failures: 1 } }), 1);
    const replayed = rows.filter(({ source }) => source === 'replay');
    expect(failed).toBeGreaterThan(1);
    expect(replayed.slice(0, failed).every(({ score }) => score.meanUnsafe < 0.5)).toBe(true);
  });

  test('are drawn by the wanted rank: a judge that tells them apart brings the best first', async () => {
    const { parts } = partsWith();
    const sharp: RewardFunction<string> = async (requests) =>
      requests.map(({ text }, i) => ({
        score: { logS: i === 0 ? 0 : -1000, meanUnsafe: 0.5, responses: 1 },
        evidence: text,
      }));
    const { rows } = await gather(withReward(parts, sharp), optionsOf(), 0);
    const only = optionsOf({ batchSize: 2, accumulation: 1 });
    const drawn = async (changes: Partial<GflownetOptions>) => {
      const texts: (string | undefined)[] = [];
      for (let update = 1; update <= 20; update++) {
        const gathered = await gather({ ...parts, buffer: freshBuffer(rows) }, { ...only, ...changes }, update);
        texts.push(gathered.rows.find(({ source }) => source === 'replay')?.text);
      }
      return new Set(texts);
    };
    expect(await drawn({ replayBy: 'judge' })).toEqual(new Set([rows[0]?.text]));
    expect(await drawn({ replayBy: 'reward' })).toEqual(new Set([rows[0]?.text]));
    expect((await drawn({ replayBy: 'uniform' })).size).toBeGreaterThan(2);
  });

  test('scored again, average old and new responses in the buffer, and say what the target answered', async () => {
    const { parts, asked } = partsWith();
    await gather(parts, optionsOf(), 0);
    asked.length = 0;
    const before = new Map(parts.buffer.all().map((entry) => [entry.text, entry.score]));
    const rescored: RewardFunction<string> = async (requests) => {
      asked.push(requests);
      return requests.map(({ text, streamName }) => {
        const evidence = streamName.join('/');
        if (streamName[0] === 'rescore' && text.startsWith('a')) return { score: undefined, evidence };
        return { score: { logS: 0, meanUnsafe: 1, responses: 6 }, evidence };
      });
    };
    const { rows } = await gather(withReward(parts, rescored), optionsOf({ rescoreReplay: true }), 3);
    const replayed = rows.filter(({ source }) => source === 'replay');
    expect(asked[0]?.map(({ streamName }) => streamName)).toEqual(replayed.map((_, row) => ['rescore', 3, row]));
    expect(replayed.some(({ text }) => text.startsWith('a'))).toBe(true);
    expect(replayed.some(({ text }) => !text.startsWith('a'))).toBe(true);
    for (const [row, { text, score, evidence }] of replayed.entries()) {
      expect(evidence).toBe(`rescore/3/${row}`);
      const old = before.get(text);
      if (text.startsWith('a')) expect(score).toEqual(old);
      else {
        expect(score.responses).toBe((old?.responses as number) + 6);
        expect(score.meanUnsafe).toBeCloseTo(((old?.meanUnsafe as number) * 2 + 6) / 8, 12);
        expect(score.logS).toBeCloseTo(((old?.logS as number) * 2) / 8, 12);
      }
    }
  });
});

test('updates between two batches learn from the buffer alone and ask nobody', async () => {
  const { parts, asked } = partsWith();
  const options = optionsOf({ updatesPerBatch: 3 });
  const sources: string[][] = [];
  for (let update = 0; update < 6; update++) {
    const { rows, attackTokens } = await gather(parts, options, update);
    sources.push([...new Set(rows.map(({ source }) => source))]);
    expect(attackTokens > 0).toBe(update % 3 === 0);
  }
  expect(asked).toHaveLength(2);
  expect(sources.map((found) => found.join())).toEqual([
    'fresh,tempered',
    'replay',
    'replay',
    'fresh,tempered,replay',
    'replay',
    'replay',
  ]);
});

test('with an empty buffer every update draws fresh attacks', async () => {
  const { parts } = partsWith();
  const { rows } = await gather(parts, optionsOf({ updatesPerBatch: 4 }), 1);
  expect(new Set(rows.map(({ source }) => source))).toEqual(new Set(['fresh', 'tempered']));
});

describe('rewritten attacks', () => {
  const rewriting = (rewriteChange: number) => optionsOf({ rewriteShare: 0.4, temperedShare: 0, rewriteChange });
  /** One attack in the buffer, a success or not. */
  async function withOneParent(meanUnsafe: number) {
    const { parts } = partsWith();
    const [row] = (await gather(parts, optionsOf(), 0)).rows;
    const parent = { ...(row as NonNullable<typeof row>), tokens: [4, 3, 2, 1], score: scoreOf(meanUnsafe) };
    return { ...parts, buffer: freshBuffer([parent]), copy: () => freshBuffer([parent]) };
  }

  test('keep the tokens of a success but for those drawn from the policy', async () => {
    const rewritten = async (rewriteChange: number) => {
      const parts = await withOneParent(0.9);
      const tokens: string[] = [];
      for (let update = 1; update <= 20; update++) {
        const { rows } = await gather({ ...parts, buffer: parts.copy() }, rewriting(rewriteChange), update);
        for (const row of rows) if (row.source === 'rewritten') tokens.push(row.tokens.join(''));
      }
      return tokens;
    };
    expect(new Set(await rewritten(0))).toEqual(new Set(['4321']));
    const half = await rewritten(0.5);
    expect(half).toHaveLength(20);
    const kept = half.flatMap((tokens) => [...tokens].map((token, t) => (token === '4321'[t] ? 1 : 0)));
    const share = kept.reduce((sum: number, is) => sum + is, 0) / kept.length;
    expect(share).toBeGreaterThan(0.4); // half of them, and a fifth of those drawn
    expect(share).toBeLessThan(0.8);
  });

  test('are fewer, and fresh ones more, where the buffer has too few successes', async () => {
    const { rows } = await gather(await withOneParent(0.3), rewriting(0.3), 1);
    expect(rows.filter(({ source }) => source === 'rewritten')).toEqual([]);
    expect(rows.filter(({ source }) => source === 'fresh')).toHaveLength(10);
  });
});

describe('a reward that spreads over ways', () => {
  const spread = { eta: 1, n0: 1, cosine: 0.75 };
  const embed = async (texts: readonly string[]) =>
    texts.map((text) => (text.startsWith('a') ? Float32Array.of(1, 0) : Float32Array.of(0, 1)));
  const always: RewardFunction<string> = async (requests) =>
    requests.map(({ text }) => ({ score: scoreOf(text.startsWith('e') ? 0.1 : 0.9), evidence: text }));

  test('counts the distinct successes near each row, fresh or replayed, and lowers log R by eta log(1 + n / n0)', async () => {
    const { parts } = partsWith(always);
    const options = optionsOf({ spread });
    const pool = new SuccessPool();
    const spreading = { ...parts, pool, embed };
    const first = await gather(spreading, options, 0);
    const successes = new Set(first.rows.filter(({ text }) => !text.startsWith('e')).map(({ text }) => text));
    expect(pool.size).toBe(successes.size);
    const nearA = [...successes].filter((text) => text.startsWith('a')).length;
    expect(nearA).toBeGreaterThan(0);
    const plain = rewardOf(optionsOf(), 0);
    const spreadReward = rewardOf(options, 0);
    const second = await gather(spreading, optionsOf({ spread, updatesPerBatch: 2 }), 1);
    for (const row of [...first.rows, ...second.rows]) {
      const near = row.text.startsWith('a') ? nearA : successes.size - nearA;
      expect(row.neighbours).toBe(near);
      expect(spreadReward(row)).toBeCloseTo(plain(row) - Math.log(1 + near), 12);
    }
    expect(second.rows.every(({ source }) => source === 'replay')).toBe(true);
  });

  test('without it no row has neighbours', async () => {
    const { parts } = partsWith(always);
    const { rows } = await gather({ ...parts, embed }, optionsOf(), 0);
    for (const row of rows) expect(row).not.toHaveProperty('neighbours');
  });
});

/** A buffer of these rows alone. */
function freshBuffer(rows: readonly Parameters<typeof toCandidate>[0][]) {
  const buffer = createReplayBuffer({ nearEditRatio: null });
  for (const row of rows) buffer.insert(toCandidate(row, 0), rewardOf(optionsOf(), 0));
  return buffer;
}

describe('with a batch asked ahead', () => {
  const ahead = optionsOf({ askedAhead: 1, updatesPerBatch: 2, updates: 6 });
  const sources = async (parts: GflownetParts<string>, update: number) =>
    (await gather(parts, ahead, update)).rows.map(({ source, evidence }) => `${source} ${evidence ?? ''}`.trim());

  test('an update learns from the attacks of an earlier one, the last from all', async () => {
    const { parts, asked, settled } = partsWith();
    parts.buffer.insert(toCandidate((await gather(partsWith().parts, optionsOf(), 9)).rows[0] as never, 0), () => 0);
    const first = await sources(parts, 0);
    expect(asked).toHaveLength(1);
    expect(first.every((source) => source === 'replay')).toBe(true);
    await sources(parts, 1);
    const third = await sources(parts, 2);
    expect(third.slice(0, 10).every((source) => / response\/0\//.test(source))).toBe(true);
    expect(third.slice(10)).toEqual(['replay']);
    await sources(parts, 3);
    await sources(parts, 4);
    expect(parts.asked.underWay.map(({ update }) => update)).toEqual([4]);
    expect((await sources(parts, 5)).slice(0, 10).every((source) => / response\/4\//.test(source))).toBe(true);
    expect(parts.asked.underWay).toEqual([]);
    expect(asked).toHaveLength(3);
    expect(settled).toEqual([2, 3, 3]); // a batch counts when it is taken: one other was asked since
  });

  test('the first waits where there is nothing to replay', async () => {
    const { parts } = partsWith();
    expect((await sources(parts, 0)).every((source) => / response\/0\//.test(source))).toBe(true);
    expect(parts.asked.underWay).toEqual([]);
  });

  test('a failure of the target shows when the batch is taken, and its update is made again with the same attacks', async () => {
    let isDown = false;
    const { parts, asked } = partsWith(async (requests) => {
      if (isDown) throw new Error('the target is down');
      return byLength(requests);
    });
    await sources(parts, 0);
    isDown = true;
    await sources(parts, 2); // asked, and not waited for
    await expect(sources(parts, 4)).rejects.toThrow('the target is down');
    expect(parts.asked.underWay.map(({ update }) => update)).toEqual([2]);
    expect(asked.map((requests) => requests[0]?.streamName[1])).toEqual([0, 2, 4]);
  });
});

describe('with cells', () => {
  const CELLS = ['cats', 'dogs'];

  function withCells(reward: RewardFunction<string> = byLength, rule: 'thompson' | 'equal' = 'equal') {
    const { parts, asked } = partsWith(reward);
    const memories = new Map(CELLS.map((cell) => [cell, { buffer: createReplayBuffer({ nearEditRatio: null }) }]));
    const calls = new CellCalls(CELLS, { rule, seed: 1 });
    return { parts: { ...parts, buffer: createReplayBuffer(), cells: { memories, calls } }, memories, calls, asked };
  }

  const cellsOf = (rows: readonly { readonly cell?: string }[]) => [...new Set(rows.map(({ cell }) => cell))];
  const bufferOf = (memories: ReturnType<typeof withCells>['memories'], cell: string) =>
    memories.get(cell)?.buffer ?? createReplayBuffer();

  test('an update is of one cell: its fresh attacks, its replay and its rewrites, each from its own memory', async () => {
    const { parts, memories } = withCells();
    const options = optionsOf({ rewriteShare: 0.4, temperedShare: 0 });
    const always: RewardFunction<string> = async (requests) =>
      requests.map(() => ({ score: scoreOf(0.9), evidence: '' }));
    const successful = withReward(parts, always);
    for (let update = 0; update < 6; update++) {
      const before = new Map(
        CELLS.map((cell) => [
          cell,
          bufferOf(memories, cell)
            .all()
            .map(({ text }) => text),
        ]),
      );
      const { rows } = await gather({ ...parts, ...successful, cells: parts.cells }, options, update);
      const cell = CELLS[update % 2] as string;
      expect(cellsOf(rows)).toEqual([cell]);
      const replayed = rows.filter(({ source }) => source === 'replay');
      expect(replayed.length > 0).toBe(update > 1);
      for (const { text } of replayed) expect(before.get(cell)).toContain(text);
      expect(rows.some(({ source }) => source === 'rewritten')).toBe(update > 1);
    }
    for (const cell of CELLS) expect(bufferOf(memories, cell).size).toBeGreaterThan(5);
    expect(parts.buffer.size).toBe(0);
  });

  test('an update without a batch replays a cell that has attacks', async () => {
    const { parts, memories } = withCells();
    const options = optionsOf({ updatesPerBatch: 20, updates: 40 });
    await gather(parts, options, 0);
    for (let update = 1; update < 5; update++)
      expect(cellsOf((await gather(parts, options, update)).rows)).toEqual(['cats']);
    expect(bufferOf(memories, 'dogs').size).toBe(0);
    await gather(parts, options, 20);
    const seen = new Set<string | undefined>();
    for (let update = 21; update < 40; update++) {
      const cells = cellsOf((await gather(parts, options, update)).rows);
      expect(cells).toHaveLength(1);
      seen.add(cells[0]);
    }
    expect(seen).toEqual(new Set(CELLS));
  });

  test('the counts are of fresh attacks: tried, and successes in a new wording', async () => {
    const long: RewardFunction<string> = async (requests) =>
      requests.map(({ text }) => ({ score: scoreOf(text.split(' ').length > 2 ? 0.9 : 0.1), evidence: '' }));
    const { parts, memories, calls } = withCells(long);
    const { rows } = await gather(parts, optionsOf(), 0);
    const texts = new Set(rows.filter(({ score }) => score.meanUnsafe > 0.5).map(({ text }) => text));
    expect(calls.state()).toEqual([
      { batches: 1, tried: 10, founded: texts.size },
      { batches: 0, tried: 0, founded: 0 },
    ]);
    // The same attacks again: none of them is new.
    const tried = rows.map((attack) => ({ attack, embedding: undefined }));
    const ofCats = { buffer: bufferOf(memories, 'cats') };
    expect(keepAttacks(ofCats, optionsOf(), 1, tried).founded).toBe(0);
  });

  test('an update that is interrupted leaves no count', async () => {
    const { parts, calls } = withCells();
    const stopped: RewardFunction<string> = async () => {
      throw new Error('stopped');
    };
    await expect(gather({ ...withReward(parts, stopped), cells: parts.cells }, optionsOf(), 0)).rejects.toThrow(
      'stopped',
    );
    expect(calls.state().map(({ batches }) => batches)).toEqual([0, 0]);
    const { rows } = await gather(parts, optionsOf(), 0);
    expect(cellsOf(rows)).toEqual(['cats']);
  });

  test('a success that takes the place of a failure nearby founds a wording; one near a success does not', () => {
    const buffer = createReplayBuffer({ nearEditRatio: 0.3, capacity: 10 });
    const attackOf = (tokens: readonly number[], unsafe: number) => ({
      attack: {
        ...{ tokens, terminated: true, source: 'fresh' as const },
        text: tokens.join(' '),
        fluency: -1,
        score: scoreOf(unsafe),
      },
      embedding: undefined,
    });
    const keep = (tokens: readonly number[], unsafe: number): number =>
      keepAttacks({ buffer }, optionsOf(), 0, [attackOf(tokens, unsafe)]).founded;
    expect(keep([1, 2, 3, 4], 0.1)).toBe(0); // a failure
    expect(keep([1, 2, 3, 5], 0.8)).toBe(1); // takes its place
    expect(keep([1, 2, 3, 6], 0.9)).toBe(0); // near a success, which it replaces
    expect(keep([1, 2, 3, 7], 0.6)).toBe(0); // near a success, which stays
    expect(keep([8, 9, 10, 11], 0.6)).toBe(1); // far from all
  });
});
