import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentProgress } from '../../src/base/progress.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { targetKindOf, targetSchema } from '../../src/targets/registry.ts';
import type { TargetConfig, TargetHost } from '../../src/targets/target-kind.ts';
import { drawCandidates } from '../../src/worlds/choose-keys.ts';
import { createWordRanking } from '../../src/worlds/request-grammar.ts';
import { transferTargetName } from '../../src/worlds/transfer-target.ts';
import '../../src/worlds/world-kinds.ts';
import { DEFAULT_WORLD } from '../../src/worlds/world-spec.ts';
import { describeTargetContract } from '../targets/target-contract.ts';

let cacheDir: string;
beforeAll(async () => {
  cacheDir = await mkdtemp(path.join(tmpdir(), 'floodgate-world-target-'));
});
afterAll(async () => {
  await rm(cacheDir, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

/** As much of a world as its further targets read: two keys, taught in a few updates. */
function tinyWorld() {
  const groups = drawCandidates(DEFAULT_WORLD, createWordRanking(DEFAULT_WORLD.seed));
  const candidates = groups.flatMap((group) => group.candidates.slice(0, group.wanted)).slice(36, 38);
  return {
    spec: DEFAULT_WORLD,
    keys: candidates.map((key) => ({ ...key, prior: 1e-3, leak: 1 })),
    recipe: { updates: 4, requests: 16, learningRate: 5e-3, gradientClip: 1, beta2: 0.999 },
  };
}

const hostIn = (world: unknown): TargetHost => ({
  openDecoder: () => Promise.reject(new Error('a target of the world opens no model of this machine')),
  sourceOf: async () => undefined,
  seed: 5,
  threads: 1,
  progress: silentProgress,
  signal: new AbortController().signal,
  cacheDir,
  world,
});

const parse = (config: object): TargetConfig => targetSchema().parse(config);
const config = parse({ kind: 'world', share: 0.5, seed: 2 });

const planIn = (world: unknown) => targetKindOf(config).plan(config, hostIn(world));

test('a world target is planned before it is trained: its facts name its keys, and no weights', async () => {
  const world = tinyWorld();
  const { facts, model, evaluatedAs, open } = await planIn(world);
  expect(facts).toMatchObject({
    kind: 'world',
    model: transferTargetName(world, { family: 'gpt2', size: 'small', share: 0.5, seed: 2 }),
    sha256: null,
    precision: 'fp32',
    shared: { keys: 2, kept: 1, seed: 2 },
  });
  expect([model, evaluatedAs]).toEqual([undefined, undefined]);
  const opened = await open([]);
  expect(opened.facts).toEqual({ ...facts, sha256: opened.checkpoint?.sha256 });
  expect(opened.facts.sha256).toMatch(/^[0-9a-f]{64}$/);
  await opened.close();
});

test('a world target outside a world is refused with the remedy', async () => {
  await expect(planIn(undefined)).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringContaining('the run is in no synthetic world'),
    hint: expect.stringContaining('name a model'),
  });
});

test('a world target has its own keys in the config, and no others', () => {
  expect(config).toMatchObject({ family: 'gpt2', size: 'small', share: 0.5, seed: 2, responses: 5 });
  for (const wrong of [{ family: 'mamba' }, { share: 2 }, { seed: -1 }, { model: 'x' }]) {
    expect(targetSchema().safeParse({ kind: 'world', ...wrong }).success).toBe(false);
  }
});

describeTargetContract('a target of the world', async () => (await (await planIn(tinyWorld())).open([])).target);
