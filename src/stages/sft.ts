import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { canonicalJson } from '../base/canonical-json.ts';
import { count, nonNegative, positive, positiveCount, share } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { yaml } from '../base/yaml.ts';
import { createAdamWState } from '../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { AttackTokens } from '../learning/attack.ts';
import { loadLatestCheckpoint, saveCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { loadParameters } from '../learning/checkpoints/trainer-state.ts';
import { type LikelihoodRow, type LikelihoodUpdate, trainLikelihood } from '../learning/loops/likelihood.ts';
import type { PolicySession } from '../models/decoder/policy-session.ts';
import { loraSection } from '../models/model-fields.ts';
import { readAttackerAdapter, setAdapter } from '../runs/attacker-adapter.ts';
import { type AttackerFolder, findAttackerFolder, readAttackerFile } from '../runs/attacker-folder.ts';
import type { ConfigProblem } from '../runs/config/config-problems.ts';
import { readManifest } from '../runs/manifest.ts';
import { openRunFolder, type RunFolder } from '../runs/run-folder.ts';
import { damagedWorld } from '../worlds/world-file.ts';
import { WORLD } from '../worlds/world-preset.ts';
import { isMadeWorld, requireKnownWorld } from '../worlds/world-registry.ts';
import { loopControl, resumeStage, SFT, type StageStart, stageCheckpoint } from './checkpoints.ts';
import { type Config, createSection, isFromWorld } from './config/config.ts';
import { plainMetric } from './metric-records.ts';
import { openAttackerPolicy } from './rewarded-training.ts';
import { seedCells } from './seed-cells.ts';
import { type Campaign, checkWarmup, problemAt, type Stage } from './stage.ts';

const section = createSection(
  SFT,
  z
    .strictObject({
      updates: positiveCount.max(10_000_000).default(200).describe('optimizer updates'),
      batchSize: positiveCount.max(65_536).default(16).describe('attacks of one update'),
      learningRate: positive.default(1e-4).describe('after the warm-up'),
      warmupUpdates: count.default(10).describe('updates of linear learning-rate warm-up'),
      weightDecay: nonNegative.default(0).describe('decoupled decay of AdamW'),
      gradientClip: positive.default(1).describe('largest global norm of the gradient'),
      validationShare: share.lt(1).default(0.1).describe('share of the seeds held out for the validation loss'),
    })
    .prefault({})
    .describe('warm-up: the attacker learns the seeds; its result is also the frozen reference'),
);

/** Updates between two checkpoints of a likelihood stage. */
export const CHECKPOINT_EVERY = 50;
const VALIDATE_EVERY = 25;

/** Seeds as attacks, split into training and validation by the run's seed. */
async function splitSeeds(campaign: Campaign): Promise<{ training: AttackTokens[]; validation: AttackTokens[] }> {
  const { attacker, seeds, config } = campaign;
  const cellOf = await seedCells(campaign);
  const shuffled = randomStream(config.seed, 'seed split').shuffle(seeds.attacks);
  const held = Math.min(Math.floor(shuffled.length * section.of(config).validationShare), shuffled.length - 1);
  const attacks = shuffled
    .map((text) => ({ ...attacker.tokensOf(text), ...cellOf(text) }))
    .filter(({ tokens }) => tokens.length > 0);
  return { validation: attacks.slice(0, held), training: attacks.slice(held) };
}

/** Stores one update of a likelihood stage: its losses as metrics. */
export function recordLikelihood({ store }: Campaign, stage: string, record: LikelihoodUpdate): void {
  const metric = (name: string, value: number) => plainMetric(name, value, 1);
  store.recordUpdate({
    stage,
    update: record.update,
    metrics: [
      metric('loss', record.loss),
      metric('gradientNorm', record.gradientNorm),
      ...(record.validationLoss === undefined ? [] : [metric('validationLoss', record.validationLoss)]),
    ],
    cost: { targetCalls: 0, judgeCalls: 0, tokens: 0, seconds: record.seconds },
  });
}

function otherModel(campaign: Campaign, from: string, theirs: string | undefined): FloodgateError {
  return new FloodgateError(
    'run',
    `attacker.from ${from}: its attacker is ${theirs}, this run's is ${campaign.attackerModel.spec}`,
    { hint: 'use the same attacker.model in both configs' },
  );
}

/** A world's reference is a model of its own, or its adapter of default shape: another attacker cannot start as it. */
function checkFromWorld(config: Config): ConfigProblem[] {
  const { world, attacker } = config;
  if (world === undefined || !isFromWorld(config)) return [];
  const { model, method, lora, fromStage } = attacker;
  const isItsModel = isMadeWorld(world)
    ? model === WORLD && method === 'full'
    : 'attacker' in world && model === world.attacker && method === 'lora';
  const isItsShape = method === 'full' || canonicalJson(lora) === canonicalJson(loraSection.parse(undefined));
  return [
    ...(isItsModel && isItsShape
      ? []
      : [problemAt('attacker.from', 'got world, whose reference has its own model, method and lora: leave these out')]),
    ...(fromStage === undefined
      ? []
      : [problemAt('attacker.fromStage', 'is for a run, but attacker.from is the world: leave it out')]),
  ];
}

async function inheritReference({ world }: Campaign, parameters: ParameterVector): Promise<void> {
  const { ownReference } = requireKnownWorld(world, 'attacker.from');
  if ((await loadLatestCheckpoint(ownReference, parameters)) !== undefined) return;
  throw damagedWorld(ownReference.folder, 'its reference is missing');
}

/** Copies the adapter of the world, of another run, or of an imported attacker, which continues here. */
async function inheritAttacker(campaign: Campaign, from: string, parameters: ParameterVector): Promise<void> {
  if (isFromWorld(campaign.config)) return inheritReference(campaign, parameters);
  const runsFolder = `${campaign.folder.path}/..`;
  const folder = await findAttackerFolder(from, runsFolder);
  if (folder !== undefined) return inheritExported(campaign, folder, parameters);
  const other = await openRunFolder(from, runsFolder);
  const manifest = await readManifest(other.manifestPath);
  const theirs = manifest.models.find(({ role }) => role === 'attacker');
  if (theirs?.sha256 !== campaign.attackerModel.sha256) throw otherModel(campaign, from, theirs?.spec);
  const { fromStage = SFT } = campaign.config.attacker;
  await refuseOtherRun(campaign, other, `attacker.from ${from}`);
  if (fromStage !== SFT) return loadParameters(await stageCheckpoint(other, fromStage), parameters);
  const found = await loadLatestCheckpoint({ folder: other.checkpointsPath, stage: SFT }, parameters);
  if (found === undefined) throw new FloodgateError('run', `attacker.from ${from}: that run has no trained attacker`);
}

/** The part of a run's own config that its adapter's meaning depends on. */
const trainedConfig = z.looseObject({
  attacker: z.looseObject({ method: z.enum(['lora', 'full']).default('lora'), lora: loraSection }),
});

/** A run whose adapter means something else on this run's settings is refused before its checkpoint is read. */
async function refuseOtherRun({ attacker }: Campaign, other: RunFolder, what: string): Promise<void> {
  const config = trainedConfig.safeParse(yaml().parse(await readFile(other.configPath, 'utf8')));
  if (config.data === undefined) return; // of another version: the checkpoint's tensors decide
  const { method, lora } = config.data.attacker;
  if (method === 'lora' && attacker.spec.trainable.kind === 'lora') refuseOtherShape(attacker, lora, what);
}

/** An adapter trained with another scale or rank would be another attacker, so its shape must be this config's. */
function refuseOtherShape(
  { spec: { trainable } }: Campaign['attacker'],
  { rank, alpha }: { readonly rank: number; readonly alpha: number },
  what: string,
): void {
  if (trainable.kind !== 'lora')
    throw new FloodgateError('config', `${what}: it is an adapter, but attacker.method is full, expected lora`);
  const { spec } = trainable;
  if (spec.rank === rank && spec.alpha === alpha) return;
  throw new FloodgateError(
    'config',
    `${what}: attacker.lora has rank ${spec.rank} and alpha ${spec.alpha}, expected its ${rank} and ${alpha}`,
    { hint: `attacker: { lora: { rank: ${rank}, alpha: ${alpha} } }` },
  );
}

async function inheritExported(campaign: Campaign, folder: AttackerFolder, parameters: ParameterVector): Promise<void> {
  const { attacker, attackerModel } = campaign;
  const what = `attacker.from ${folder.name}`;
  if (campaign.config.attacker.fromStage !== undefined)
    throw new FloodgateError('config', `${what}: attacker.fromStage is for a run, it is an imported attacker`, {
      hint: 'leave attacker.fromStage out',
    });
  const file = await readAttackerFile(folder);
  if (file.base.sha256 !== attackerModel.sha256) throw otherModel(campaign, folder.name, file.base.spec);
  refuseOtherShape(attacker, file.adapter, what);
  setAdapter(parameters, await readAttackerAdapter(folder, file, attackerModel), what);
}

async function trainOnSeeds(campaign: Campaign, policy: PolicySession, start: StageStart): Promise<void> {
  const { config, attacker } = campaign;
  const { updates, batchSize, learningRate, warmupUpdates, gradientClip, weightDecay } = section.of(config);
  const { training, validation } = await splitSeeds(campaign);
  const rowOf = ({ cell, ...attack }: AttackTokens): LikelihoodRow => {
    return { row: attacker.rowOf(attack), ...(cell === undefined ? {} : { cell }) };
  };
  await trainLikelihood(
    {
      policy,
      examples: training.map((attack) => ({ ...rowOf(attack), weight: 1 })),
      validation: validation.map(rowOf),
    },
    {
      promptOf: (cell) => attacker.promptOf(cell),
      minTokens: 0,
      batchSize,
      learningRate: { peak: learningRate, warmupUpdates, decay: 'constant', totalUpdates: updates },
      gradientClip,
      weightDecay,
      seed: config.seed,
      validateEveryUpdates: VALIDATE_EVERY,
    },
    {
      control: loopControl(campaign, SFT, CHECKPOINT_EVERY),
      from: start.update,
      optimizer: start.optimizer,
      onUpdate: async (record) => {
        recordLikelihood(campaign, SFT, record);
        return false;
      },
    },
  );
}

async function run(campaign: Campaign): Promise<void> {
  const { config, attacker, store } = campaign;
  const { from } = config.attacker;
  store.beginStage(SFT, from === undefined ? section.of(config).updates : 0);
  const policy = await openAttackerPolicy(campaign, { logZ: 'none' });
  try {
    await attacker.initialise(policy.parameters, config.seed);
    const start = await resumeStage(campaign, SFT, policy.parameters);
    if (from === undefined) await trainOnSeeds(campaign, policy, start);
    else {
      await inheritAttacker(campaign, from, policy.parameters);
      const optimizer = createAdamWState(policy.parameters.data.length);
      const { checkpoints } = loopControl(campaign, SFT, CHECKPOINT_EVERY);
      await saveCheckpoint(checkpoints, policy.parameters, { update: 0, optimizer, extra: {} });
    }
    store.endStage(SFT, 'done');
  } finally {
    await policy.close();
  }
}

/** SFT warm-up: the attacker learns the seeds. Its result starts every policy and is the frozen reference. */
export const sft: Stage = {
  name: SFT,
  needs: [],
  sections: [section],
  words: {
    label: 'Imitation',
    explain: 'The attacker after it learnt to imitate the example messages.',
    learning: 'by imitating examples',
  },
  knowsTarget: 'no',
  hasDensity: true,
  check: (config) => [
    ...checkWarmup(SFT, section.of(config)),
    ...(config.attacker.fromStage === undefined || config.attacker.from !== undefined
      ? []
      : [problemAt('attacker.fromStage', 'needs attacker.from, which is missing')]),
    ...checkFromWorld(config),
  ],
  plan: (config) => {
    const { updates, batchSize } = section.of(config);
    const trainedRows = config.attacker.from === undefined ? updates * batchSize : 0;
    return { attacks: 0, tried: 0, trainedRows, passRows: batchSize };
  },
  run,
};
