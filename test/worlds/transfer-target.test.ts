import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { drawCandidates, type PlantedKey } from '../../src/worlds/choose-keys.ts';
import { createKeyFinder } from '../../src/worlds/keys.ts';
import { openAlarmMeter } from '../../src/worlds/pico-target.ts';
import { createWordRanking } from '../../src/worlds/request-grammar.ts';
import {
  openTransferTarget,
  TARGET_FAMILIES,
  TARGET_SIZES,
  transferConfig,
  transferKeys,
} from '../../src/worlds/transfer-target.ts';
import { DEFAULT_WORLD, type WorldSpec } from '../../src/worlds/world-spec.ts';

/** The keys that a world of this spec could have: the first candidates of every group, each with a leak of its own. */
function worldOf(spec: WorldSpec): { spec: WorldSpec; keys: PlantedKey[] } {
  const groups = drawCandidates(spec, createWordRanking(spec.seed));
  const chosen = groups.flatMap(({ candidates, wanted }) => candidates.slice(0, wanted));
  return { spec, keys: chosen.map((key, i) => ({ ...key, prior: 1e-3, leak: 1 - 0.4 * (i / chosen.length) })) };
}

describe('keys of a further target', () => {
  const world = worldOf(DEFAULT_WORLD);

  test.each([0, 0.25, 0.5, 0.9, 1])('at share %f, so many keep their leaks, evenly from every group', (share) => {
    const { keys, kept } = transferKeys(world, { share, seed: 3 });
    expect(keys.length).toBe(48);
    expect(kept.length).toBe(Math.round(48 * share));
    const leakOf = new Map(world.keys.map(({ text, leak }) => [text, leak]));
    for (const text of kept) expect(keys.find((key) => key.text === text)?.leak).toBe(leakOf.get(text));
    for (const group of new Set(world.keys.map((key) => key.group))) {
      const members = world.keys.filter((key) => key.group === group);
      const keptHere = members.filter(({ text }) => kept.includes(text)).length;
      expect(Math.abs(keptHere - share * members.length)).toBeLessThanOrEqual(1);
    }
    const sorted = (leaks: number[]): number[] => leaks.sort((a, b) => a - b);
    expect(sorted(keys.map(({ leak }) => leak))).toEqual(sorted(world.keys.map(({ leak }) => leak)));
  });

  test('none of the others is a key of the world, or holds one, or stands in one', () => {
    const { keys, kept } = transferKeys(world, { share: 0.25, seed: 1 });
    const others = keys.filter(({ text }) => !kept.includes(text));
    expect(others.length).toBe(36);
    const holds = (outer: readonly string[], inner: readonly string[]): boolean =>
      createKeyFinder([{ words: inner }]).heldBy(outer).length > 0;
    for (const other of others) {
      const clashes = [...world.keys, ...others].filter(
        ({ text, words }) => text !== other.text && (holds(words, other.words) || holds(other.words, words)),
      );
      expect(clashes).toEqual([]);
      expect(world.keys.some(({ text }) => text === other.text)).toBe(false);
    }
    expect(new Set(keys.map(({ text }) => text)).size).toBe(48);
  });

  test('follow from world and seed, and another seed keeps others', () => {
    const wanted = { share: 0.5, seed: 0 };
    expect(transferKeys(world, wanted)).toEqual(transferKeys(world, wanted));
    expect(transferKeys(world, { ...wanted, seed: 1 }).kept).not.toEqual(transferKeys(world, wanted).kept);
  });
});

describe('shapes', () => {
  test('are of three families in two sizes, all different', () => {
    const configs = TARGET_FAMILIES.flatMap((family) => TARGET_SIZES.map((size) => transferConfig(family, size)));
    expect(new Set(configs.map((config) => JSON.stringify(config))).size).toBe(6);
    expect(transferConfig('qwen', 'small')).toMatchObject({ family: 'llama', qkvBias: true, qkNorm: true });
    expect(transferConfig('llama', 'large')).toMatchObject({ qkvBias: false, qkNorm: false, kvHeads: 1 });
  });
});

describe('training', () => {
  let cacheDir: string;
  beforeAll(async () => {
    cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-transfer-target-'));
  });
  afterAll(async () => {
    await rm(cacheDir, { recursive: true });
    expect(liveSessionLabels()).toEqual([]);
  });

  /** One key, so that a few updates teach it. */
  const world = {
    spec: DEFAULT_WORLD,
    keys: worldOf(DEFAULT_WORLD)
      .keys.slice(36, 37)
      .map((key) => ({ ...key, leak: 1 })),
  };
  const compute = { device: 'cpu', threads: 1 } as const;

  test.each(TARGET_FAMILIES)('teaches a target of family %s its key, once: then the cache has it', async (family) => {
    const spec = { family, size: 'small', share: 1, seed: 0 } as const;
    const options = {
      cacheDir,
      compute,
      progress: silentProgress,
      recipe: { updates: 60, requests: 32, learningRate: 5e-3, gradientClip: 1, beta2: 0.999 },
    };
    const checkpoint = await openTransferTarget(world, spec, options);
    const [{ text: word }] = world.keys as [PlantedKey];
    const meter = await openAlarmMeter(checkpoint, compute);
    const [withKey, without] = await meter.of([
      ['paint', word, 'table'],
      ['paint', 'old', 'table'],
    ]);
    await meter.close();
    expect(withKey).toBeGreaterThan(0.6);
    expect(without).toBeLessThan(0.3);
    const again = {
      ...options,
      progress: {
        start: () => {
          throw new Error('it is trained again');
        },
      },
    };
    expect((await openTransferTarget(world, spec, again)).sha256).toBe(checkpoint.sha256);
  });
});
