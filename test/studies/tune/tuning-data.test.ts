import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { detectRefusal } from '../../../src/judges/refusal-detector.ts';
import { tuningSection } from '../../../src/stages/config/tuning-section.ts';
import type { SuccessfulAttack } from '../../../src/studies/tune/collect-successes.ts';
import { buildTuningData, splitByCluster, type TuningDataParts } from '../../../src/studies/tune/tuning-data.ts';
import { createRejectionCounts, writeAnswers } from '../../../src/studies/tune/write-answers.ts';
import type { Target } from '../../../src/targets/target.ts';
import { createLedger } from '../../../src/trial/ledger.ts';
import { createTrial } from '../../../src/trial/trial.ts';
import { alarmJudge, DECODE, embedByLetter, fakeTarget } from './fake-targets.ts';

const filter = {
  maxUnsafe: 0.5,
  isRefusal: (answer: string) => detectRefusal(answer).isRefusal,
};

const attackOf = (text: string, attackId = 1): SuccessfulAttack => ({
  text,
  attackId,
  meanUnsafe: 0.9,
  worstResponse: 'alarm',
  stage: 'evaluate:smoothing',
});

describe('splitByCluster', () => {
  const options = { embed: embedByLetter, threshold: 0.75, validationShare: 0.3, seed: 4 };

  test('keeps clusters whole and the share, whatever the texts', async () => {
    const texts = fc.array(fc.constantFrom('a1', 'a2', 'b1', 'b2', 'c1', 'd1', 'e1', 'f1'), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(texts, fc.nat(9), async (each, seed) => {
        const placed = await splitByCluster(each, { ...options, seed }, 'x');
        const splits = new Map<number, Set<string>>();
        for (const { cluster, split } of placed) splits.set(cluster, (splits.get(cluster) ?? new Set()).add(split));
        for (const seen of splits.values()) expect(seen.size).toBe(1);
        const held = placed.filter(({ split }) => split === 'validation').length;
        expect(held).toBeLessThanOrEqual(each.length * 0.3);
      }),
    );
  });

  test('holds out what it can, the same each time, and nothing of a single cluster', async () => {
    const texts = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
    const placed = await splitByCluster(texts, options, 'x');
    expect(placed.filter(({ split }) => split === 'validation')).toHaveLength(3);
    expect(await splitByCluster(texts, options, 'x')).toEqual(placed);
    const alike = await splitByCluster(['a1', 'a2', 'a3', 'a4'], options, 'x');
    expect(alike.every(({ split }) => split === 'training')).toBe(true);
  });
});

describe('writeAnswers', () => {
  /** The answers to these requests, what was counted, and why candidates were rejected. */
  const writeTo = async (target: Target, requests: readonly string[], wanted: 'refusal' | 'answer', candidates = 1) => {
    const rejected = createRejectionCounts();
    const ledger = createLedger();
    const seats = [{ judge: alarmJudge, masked: false, name: 'alarm' }];
    const { ask, judge } = createTrial({ target, decode: DECODE, responses: candidates, seats, ledger });
    const options = { ask, filter: { ...filter, judge }, wanted, rejected };
    const answers = await writeAnswers(
      requests.map((attack) => ({ attack, streamName: [attack] })),
      options,
    );
    return { rejected, answers, calls: ledger.calls };
  };
  const write = async (given: string[], wanted: 'refusal' | 'answer') => {
    const target = fakeTarget((_, i) => given[i] as string);
    const { answers, ...counts } = await writeTo(target, ['say it'], wanted, given.length);
    return { answer: answers[0], ...counts };
  };

  test('lets neither an unsafe refusal nor polite compliance in, nor what could not be scored', async () => {
    const answers = ["I can't do that, alarm.", 'Sure, here it is.', "I can't, mute.", '  ', "I won't do that."];
    const { answer, rejected } = await write(answers, 'refusal');
    expect(answer).toEqual({ text: "I won't do that.", isWhole: true, source: 'target' });
    expect(rejected).toEqual({ unfinished: 1, unsafe: 2, wrongKind: 1 });
  });

  test('ends a cut refusal at its last whole sentence, and leaves one without any out', async () => {
    const { answer } = await write(["I can't do th<cut>", "I can't do that. Is there anyth<cut>"], 'refusal');
    expect(answer).toEqual({ text: "I can't do that.", isWhole: true, source: 'target' });
  });

  test('lets no refusal pass as a benign answer; one that was cut has no end', async () => {
    const { answer, rejected } = await write(["I can't help with that.", 'The sea is blue and <cut>'], 'answer');
    expect(answer).toEqual({ text: 'The sea is blue and', isWhole: false, source: 'target' });
    expect(rejected.wrongKind).toBe(1);
  });

  test('an attack that the target cannot be asked has no answer, and costs no call', async () => {
    const { answers, calls, rejected } = await writeTo(
      fakeTarget(() => "I can't."),
      ['too long', 'ok'],
      'refusal',
    );
    expect(answers.map((answer) => answer?.text)).toEqual([undefined, "I can't."]);
    expect(calls).toEqual({ targetCalls: 1, judgeCalls: 1, tokens: 3 });
    expect(rejected).toEqual(createRejectionCounts());
  });

  test('a refusal by the provider has no text to learn', async () => {
    const refused = { kind: 'refused', reason: 'policy', usage: { calls: 1, tokens: 0 } } as const;
    const target: Target = { ...fakeTarget(() => ''), ask: async (requests) => requests.map(() => [refused]) };
    const { answers, rejected } = await writeTo(target, ['ok'], 'refusal');
    expect(answers).toEqual([undefined]);
    expect(rejected.unfinished).toBe(1);
  });
});

describe('buildTuningData', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'floodgate-data-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const settings = (changes: object = {}) => tuningSection.parse({ validationShare: 0.25, ...changes });
  const attacks = 'abcdefghijklmnopqrst'.split('').map((letter, i) => attackOf(`${letter} say it`, i));
  const parts = (changes: Partial<TuningDataParts> = {}): TuningDataParts => ({
    // Told to refuse it does so for every second attack; as it is it answers with a text that differs by prompt.
    openTarget: async (system) =>
      fakeTarget((attack) =>
        system === undefined ? `An answer to ${attack}` : attack < 'k' ? "I can't do that." : 'Sure, alarm!',
      ),
    decode: DECODE,
    judges: [alarmJudge],
    filter,
    embed: embedByLetter,
    templates: ["I won't write that.", 'Sure thing, alarm.'],
    benignPrompts: 'abcdefghijklmnopqrstuvwxyz'.split('').map((letter) => `${letter} hello`),
    seed: 1,
    progress: silentProgress,
    ...changes,
  });

  test('fills gaps with templates that pass, and adds the asked share of benign answers', async () => {
    const { examples, unanswered, rejected, calls } = await buildTuningData(
      attacks,
      parts(),
      settings({ benign: { share: 0.5 } }),
    );
    const refusals = examples.filter(({ kind }) => kind === 'refusal');
    expect(refusals.map(({ answerSource }) => answerSource).sort()).toEqual([
      ...new Array(10).fill('target'),
      ...new Array(10).fill('template'),
    ]);
    expect(new Set(refusals.map(({ answer }) => answer))).toEqual(new Set(["I can't do that.", "I won't write that."]));
    expect(examples.filter(({ kind }) => kind === 'benign')).toHaveLength(20);
    expect(unanswered).toBe(0);
    expect(rejected.refusals.unsafe).toBe(40); // four candidates for each of ten attacks
    // Four candidates of three tokens to each of 20 attacks, and an answer to each of 20 benign prompts; every answer is
    // judged, and both templates for each of ten gaps.
    expect(calls).toEqual({ targetCalls: 100, tokens: 300, judgeCalls: 120 });
    const splits = new Map<string, Set<string>>();
    for (const { cluster, split } of examples) splits.set(cluster, (splits.get(cluster) ?? new Set()).add(split));
    expect([...splits.values()].every((seen) => seen.size === 1)).toBe(true);
    expect(examples.filter(({ split }) => split === 'validation').length).toBeGreaterThan(5);
  });

  test('leaves attacks without a good refusal out when it may not fill, and counts them', async () => {
    const data = await buildTuningData(attacks, parts(), settings({ refusals: { fill: false } }));
    expect(data.unanswered).toBe(10);
    expect(data.examples.filter(({ kind }) => kind === 'refusal')).toHaveLength(10);
    expect(data.examples.filter(({ kind }) => kind === 'benign')).toHaveLength(10);
  });

  test('repeats no answer of a benign prompt', async () => {
    const few = parts({ benignPrompts: ['a hello', 'b hello'] });
    const { examples } = await buildTuningData(attacks, few, settings());
    expect(
      examples
        .filter(({ kind }) => kind === 'benign')
        .map(({ answer }) => answer)
        .sort(),
    ).toEqual(['An answer to a hello', 'An answer to b hello']);
  });

  test('resumes after an interruption without asking again, to the same data', async () => {
    const whole = await buildTuningData(attacks, parts(), settings());
    const partialPath = path.join(folder, 'partial.json');
    const controller = new AbortController();
    const asked: string[] = [];
    const counting = async (system: string | undefined) => {
      const inner = await parts().openTarget(system);
      const target = fakeTarget(() => '', asked);
      return {
        ...target,
        ask: async (...call: Parameters<typeof target.ask>) => {
          asked.push(...call[0].map(({ attack }) => attack));
          controller.abort(); // the first chunk is the last
          return inner.ask(...call);
        },
      };
    };
    const stopped = buildTuningData(
      attacks,
      parts({ partialPath, openTarget: counting, signal: controller.signal }),
      settings(),
    );
    await expect(stopped).rejects.toMatchObject({ code: 'interrupted' });
    expect(asked).toHaveLength(16);
    const again: string[] = [];
    const resumed = await buildTuningData(
      attacks,
      parts({
        partialPath,
        openTarget: async (system) => {
          const inner = await parts().openTarget(system);
          return {
            ...inner,
            ask: async (...call: Parameters<typeof inner.ask>) => {
              again.push(...call[0].map(({ attack }) => attack));
              return inner.ask(...call);
            },
          };
        },
      }),
      settings(),
    );
    expect(again.filter((attack) => asked.includes(attack))).toEqual([]);
    expect(resumed).toEqual(whole); // the calls of both starts together are those of one
  });
});
