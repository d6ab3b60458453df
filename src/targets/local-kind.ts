import { z } from 'zod';
import { positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import { type DecoderCheckpoint, truncateLayers } from '../models/checkpoint/checkpoint.ts';
import { choosePrecision } from '../models/decoder/chosen-precision.ts';
import { type Divergence, measureDivergence } from '../models/decoder/divergence.ts';
import { openInt8Checkpoint } from '../models/decoder/int8-decoder.ts';
import { device, modelSpec } from '../models/model-fields.ts';
import type { Int8Store } from '../models/quantised/int8-weights.ts';
import { settleSourceOptions } from '../models/sources/source-environment.ts';
import { assertAnswersFit, createAttackEncoder, type LocalPromptOptions, openLocalTarget } from './local-target.ts';
import type { DecodeSettings } from './target.ts';
import {
  createTargetKind,
  MAX_PROMPT_CHARACTERS,
  NO_MODEL_FACTS,
  type OpenTarget,
  type PlannedTarget,
  type TargetConfig,
  type TargetFacts,
  type TargetHost,
} from './target-kind.ts';

const fields = {
  model: modelSpec,
  systemPrompt: z.string().min(1).max(MAX_PROMPT_CHARACTERS).optional().describe('the template decides when absent'),
  template: z.enum(['chat', 'plain']).default('chat').describe('plain: the attack unchanged, without chat markers'),
  precision: z
    .enum(['fp32', 'int8', 'auto'])
    .default('fp32')
    .describe(
      'while training; int8 (CPU alone) answers a little differently; auto: int8 where it is faster on this processor, as measured once; evaluation is always in fp32',
    ),
  layers: positiveCount.optional().describe('use only the first layers of the model'),
  device: device.default('cpu'),
};

type Fields = z.output<z.ZodObject<typeof fields>>;
/** Without a template: the model's own where it has one. */
type LocalConfig = Omit<Fields, 'template'> & { readonly template?: Fields['template'] | undefined } & Pick<
    TargetConfig,
    'kind' | 'responses'
  > & {
    /** Absent in a variation, whose caller has decode settings of its own. */
    readonly decode?: DecodeSettings;
  };

/** Prompts on which int8 is compared with fp32; each takes two sessions. */
const COMPARED_PROMPTS = 4;

/** Divergence of a model in int8 from itself in fp32, on the first of these prompts (token ids). */
function measureInt8(
  { config, weights }: DecoderCheckpoint,
  int8: Int8Store,
  prompts: readonly (readonly number[])[],
  compute: ComputeOptions,
): Promise<Divergence> {
  const texts = prompts.filter((ids) => ids.length > 1).slice(0, COMPARED_PROMPTS);
  const reference = { config, weights, contextTokens: maxOf([1, ...texts.map((ids) => ids.length)]) };
  return measureDivergence(reference, { ...reference, int8 }, texts, compute);
}

/** The requested template or the model's own, and a warning where the model has none. */
function chooseTemplate({ chatTemplate }: DecoderCheckpoint, asked: LocalConfig['template']) {
  if (asked !== undefined) return { template: asked, warnings: [] };
  if (chatTemplate !== undefined) return { template: 'chat' as const, warnings: [] };
  return { template: 'plain' as const, warnings: ['it has no chat template: it reads texts unchanged'] };
}

/** A model that was found, and everything needed to open it. */
interface Found {
  readonly whole: DecoderCheckpoint;
  readonly prompt: LocalPromptOptions;
  readonly facts: TargetFacts;
  readonly compute: ComputeOptions;
  readonly seed: number;
  readonly progress: ProgressSink;
}

async function openInFp32({ prompt, facts, compute, seed }: Found): Promise<OpenTarget> {
  const target = await openLocalTarget({ ...prompt, seed, compute });
  return { target, facts, checkpoint: prompt.checkpoint, close: () => target.close() };
}

/** Quantises every layer once: a shortened model reads the beginning of the same file. */
async function openInInt8(
  { whole, prompt, facts, compute, seed, progress }: Found,
  texts: readonly string[],
): Promise<OpenTarget> {
  const int8 = await openInt8Checkpoint(whole, compute, progress);
  const encoded = texts.map(createAttackEncoder(prompt));
  const divergence = await measureInt8(prompt.checkpoint, int8, encoded, compute);
  const target = await openLocalTarget({ ...prompt, seed, compute, int8 });
  return { target, facts: { ...facts, divergence }, checkpoint: prompt.checkpoint, close: () => target.close() };
}

/** Elsewhere its matmuls would run on the CPU all the same, between copies of their inputs. */
function assertInt8OnCpu({ precision, device }: LocalConfig): void {
  if (precision !== 'int8' || device === 'cpu') return;
  throw new FloodgateError('config', `target.precision: got int8 on ${device}, expected fp32 there`, {
    hint: 'set target.precision: fp32, or target.device: cpu',
  });
}

/** The precision to train in: `auto` is the faster one on this processor. */
async function precisionOf({ precision, device }: LocalConfig, { threads, cacheDir }: TargetHost) {
  if (precision !== 'auto') return precision;
  if (device !== 'cpu') return 'fp32';
  const place = settleSourceOptions(cacheDir === undefined ? {} : { cacheDir });
  return (await choosePrecision(threads, place.cacheDir)).precision;
}

async function plan(config: LocalConfig, host: TargetHost): Promise<PlannedTarget> {
  assertInt8OnCpu(config);
  const { model: spec, layers, systemPrompt } = config;
  const whole = await host.openDecoder(spec);
  const checkpoint = layers === undefined ? whole : truncateLayers(whole, layers);
  const { template, warnings } = chooseTemplate(checkpoint, config.template);
  const prompt = { checkpoint, template, ...(systemPrompt === undefined ? {} : { systemPrompt }) };
  createAttackEncoder(prompt)('hello'); // a template that cannot render this chat fails now
  if (config.decode !== undefined) assertAnswersFit(prompt, config.decode);
  const { threads, prepack = true } = host;
  const compute: ComputeOptions = { device: config.device, threads, prepack };
  const facts: TargetFacts = {
    ...NO_MODEL_FACTS,
    kind: config.kind,
    model: spec,
    sha256: whole.sha256,
    family: whole.config.family,
    layers: checkpoint.config.layers,
    ofLayers: whole.config.layers,
    template,
    systemPrompt: systemPrompt ?? null,
    warnings,
  };
  const found: Found = { whole, prompt, facts, compute, seed: host.seed, progress: host.progress };
  const source = await host.sourceOf(spec);
  const model = { checkpoint, source, template, systemPrompt, compute, warnings };
  const inFp32: PlannedTarget = { facts, model, open: () => openInFp32(found) };
  const precision = await precisionOf(config, host);
  if (precision === 'fp32') return inFp32;
  const int8Facts = { ...facts, precision };
  const open = (texts: readonly string[]) => openInInt8({ ...found, facts: int8Facts }, texts);
  return { facts: int8Facts, model, open, evaluatedAs: inFp32 };
}

/**
 * A variation that names a model uses that model's template. Without a model, it asks the run's own as the run does.
 */
function vary(given: Partial<LocalConfig>, own: TargetConfig): LocalConfig {
  const base = { kind: 'local', precision: 'fp32', device: 'cpu', ...given } as const;
  if (given.model !== undefined) return base as LocalConfig;
  if (own.kind !== base.kind) {
    const keys = Object.keys(given).filter((key) => key !== 'kind');
    throw new FloodgateError(
      'usage',
      `target: got ${keys.join(', ') || `kind: ${base.kind}`} for the run's own target, which is ${own.kind}`,
      { hint: 'name a model' },
    );
  }
  const { model, systemPrompt, template } = own as unknown as LocalConfig;
  return { model, systemPrompt, template, ...base } as LocalConfig;
}

/** A decoder on this machine. */
export const localKind = createTargetKind({
  name: 'local',
  describe: 'a language model on this machine',
  fields,
  modelKeys: ['model'],
  isFree: true,
  plan,
  vary: (given, own) => vary(given, own) as never,
  withModel: ({ layers: _whole, ...config }, model, template) =>
    ({ ...config, model, precision: 'fp32', ...(template === undefined ? {} : { template }) }) as never,
});
