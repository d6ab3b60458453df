import { z } from 'zod';
import { DEVICES } from '../engine/runtime/device.ts';
import { TOX_BLOCK_LABELS } from './tox-block-judge.ts';

/** Most members, rules or terms of one list: a config is written by a person. */
const MAX_LIST = 10_000;

const modelSpec = z.string().trim().min(1).max(2000).describe('a model as in attacker.model');
const device = z.enum(DEVICES).default('cpu');

const profanity = z.strictObject({
  kind: z.literal('profanity').describe('alt-profanity-check: offensive words of the response'),
});

const toxBlock = z.strictObject({
  kind: z.literal('tox-block').describe('tox-block: an LSTM with the six Jigsaw labels, on the response'),
  label: z.enum(TOX_BLOCK_LABELS).default('toxic'),
  scale: z.enum(['rescaled', 'raw']).default('rescaled').describe('rescaled: to the range seen, as the package does'),
});

const lexicon = z.strictObject({
  kind: z.literal('lexicon').describe('fixed words and phrases of the response'),
  name: z.string().trim().min(1).max(100).default('lexicon'),
  combine: z.enum(['max', 'noisy-or']).default('max').describe('how the weights of several rules combine'),
  rules: z
    .array(
      z.strictObject({
        terms: z
          .array(z.string().min(1).max(200))
          .max(MAX_LIST)
          .default([])
          .describe('whole words or phrases; word* = any ending, * = any one word'),
        hashedTerms: z
          .array(
            z.strictObject({
              hash: z.string().regex(/^[0-9a-f]{16}$/, 'must be 16 hexadecimal digits'),
              words: z.number().int().min(1).max(8),
            }),
          )
          .max(MAX_LIST)
          .default([])
          .describe('terms as FNV-1a 64 hashes, not to be read'),
        weight: z.number().gt(0).max(1).default(1).describe('P(unsafe) when one of the terms stands there'),
      }),
    )
    .min(1)
    .max(MAX_LIST),
});

const classifier = z.strictObject({
  kind: z.literal('classifier').describe('a sequence classifier: Hugging Face checkpoint or ONNX file'),
  model: modelSpec,
  labels: z.array(z.string().min(1)).min(1).max(1000).optional().describe('output names, where the model gives none'),
  unsafeLabels: z.array(z.string().min(1)).min(1).max(1000).describe('labels that count as unsafe'),
  activation: z
    .enum(['sigmoid', 'softmax'])
    .default('sigmoid')
    .describe('sigmoid: independent labels, the largest counts; softmax: exclusive labels, their sum counts'),
  input: z.enum(['response', 'attack-and-response']).default('response'),
  device,
});

const guard = z.strictObject({
  kind: z.literal('guard').describe('a guard language model, by the normalised log-probabilities of its labels'),
  model: modelSpec,
  format: z.enum(['llama-guard-3', 'qwen3guard']).describe('prompt and labels'),
  controversialWeight: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('share of Controversial that counts (qwen3guard)'),
  device,
});

const masked = z.strictObject({
  kind: z.literal('masked').describe("another judge, shown the response without the attack's own words"),
  get judge(): z.ZodType<JudgeConfig, JudgeConfigInput> {
    return judgeConfigSchema;
  },
});

const ensembleMember = z.strictObject({
  weight: z.number().positive().max(1e6).default(1),
  get judge(): z.ZodType<JudgeConfig, JudgeConfigInput> {
    return judgeConfigSchema;
  },
});

const ensemble = z.strictObject({
  kind: z.literal('ensemble').describe('the weighted mean of several judges'),
  ifMissing: z
    .enum(['unscored', 'renormalise'])
    .default('unscored')
    .describe('when a member could not score: the whole cannot either, or the mean of the others'),
  members: z.array(ensembleMember).min(1).max(100),
});

type Leaf = typeof profanity | typeof toxBlock | typeof lexicon | typeof classifier | typeof guard;

/** Which judge, with its settings; a union on `kind`. */
export type JudgeConfig =
  | z.output<Leaf>
  | { kind: 'masked'; judge: JudgeConfig }
  | { kind: 'ensemble'; ifMissing: 'unscored' | 'renormalise'; members: { weight: number; judge: JudgeConfig }[] };

export type JudgeConfigInput =
  | z.input<Leaf>
  | { kind: 'masked'; judge: JudgeConfigInput }
  | {
      kind: 'ensemble';
      ifMissing?: 'unscored' | 'renormalise' | undefined;
      members: { weight?: number | undefined; judge: JudgeConfigInput }[];
    };

/** Schema of a judge in a config file. */
export const judgeConfigSchema = z.discriminatedUnion('kind', [
  profanity,
  toxBlock,
  lexicon,
  classifier,
  guard,
  masked,
  ensemble,
]);
