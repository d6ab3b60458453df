import { randomStream } from '../../src/base/random.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import { scalarTensor } from '../../src/engine/runtime/tensors.ts';
import type { SampledAttack } from '../../src/learning/attack.ts';
import { type Attacker, openAttacker } from '../../src/learning/attacker.ts';
import { expectedEncoderTensors } from '../../src/models/checkpoint/expected-tensors.ts';
import { type Generated, openGenerator } from '../../src/models/decoder/generator.ts';
import { offSpec, switchedOff } from '../../src/models/decoder/lora.ts';
import { openTextClassifier } from '../../src/models/encoder/text-classifier.ts';
import type { WeightStore } from '../../src/models/formats/weight-store.ts';
import { type AttackerStep, openAttackerStep, randomIds, stepWeights, TRAINABLE } from './attacker-step.ts';
import { createIdTokenizer } from './id-tokenizer.ts';
import { randomWeights } from './random-weights.ts';
import { meterSessions } from './session-meter.ts';
import { judgeConfig, RESPONSE_TOKENS, RESPONSES, type StepShape, stepShape } from './shapes.ts';
import { type Side, type SideOptions, timed } from './side.ts';
import { variantOptions } from './variants.ts';

/** Reward temperature of the judge's mean log-probability. */
const BETA = 0.1;
/** RoBERTa's control ids lie below. */
const FIRST_TEXT_ID = 4;
const UNSAFE = 1;

async function openJudge({ isSmall, cacheDir, variant }: SideOptions, compute: ComputeOptions) {
  const runtime = { ...compute, precision: variant === 'int8' ? 'int8' : 'fp32' } as const;
  const config = judgeConfig(isSmall);
  const name = `roberta-${config.layers}x${config.width}x${config.vocabSize}`;
  const weights = await randomWeights(cacheDir, name, expectedEncoderTensors(config));
  const tokenizer = createIdTokenizer(config.vocabSize, { endId: 2, frame: [0, 2] });
  const classifier = await openTextClassifier(
    { kind: 'encoder', spec: name, sha256: '', weights, tokenizer, config },
    { runtime },
  );
  /** Mean log p(unsafe) of each attack's responses. */
  return async (attacks: readonly SampledAttack[], responses: readonly Generated[]): Promise<number[]> => {
    const texts = responses.map(({ tokens }, i) => {
      const attack = attacks[Math.floor(i / RESPONSES)] as SampledAttack;
      return { text: [...attack.tokens, ...tokens].map((id) => Math.max(id, FIRST_TEXT_ID)).join(' ') };
    });
    const rows = await classifier.classify(texts);
    return attacks.map((_, a) => {
      const own = rows.slice(a * RESPONSES, (a + 1) * RESPONSES);
      return own.reduce((sum, row) => sum + Math.log(row[UNSAFE] as number), 0) / RESPONSES;
    });
  };
}

interface Model {
  readonly shape: StepShape;
  readonly weights: WeightStore;
}

/** Attacker and target have one model here. In fp32 they share its sessions, as in a run. */
async function openTarget({ shape, weights }: Model, variant: string, compute: ComputeOptions) {
  const { config, tokens } = shape;
  const { targets } = TRAINABLE.spec;
  const isShared = variant === 'fp32';
  const state = isShared ? switchedOff(config, targets) : {};
  const generator = await openGenerator(
    {
      config,
      weights,
      contextTokens: tokens + RESPONSE_TOKENS,
      bans: { always: [], end: [config.vocabSize - 1] },
      withLogProbs: false,
      ...(isShared ? { trained: { kind: 'lora', spec: offSpec(targets) } } : {}),
      ...(await variantOptions(variant, { config, weights }, compute)),
    },
    compute,
  );
  return (attacks: readonly SampledAttack[], index: number): Promise<Generated[]> =>
    generator.generate({
      prompts: attacks.map((attack) => attack.tokens),
      requests: attacks.flatMap((_, prompt) =>
        Array.from({ length: RESPONSES }, (__, response) => ({
          prompt,
          stream: randomStream(index, 'bench', 'response', prompt, response),
          temperature: 0.7,
        })),
      ),
      minNewTokens: RESPONSE_TOKENS,
      maxNewTokens: RESPONSE_TOKENS,
      topK: 0,
      topP: 0.95,
      state,
    });
}

function openBenchAttacker({ shape, weights }: Model, compute: ComputeOptions) {
  const { config, prompt, tokens } = shape;
  const end = config.vocabSize - 1;
  return openAttacker(
    {
      config,
      weights,
      tokenizer: createIdTokenizer(config.vocabSize, { endId: end }),
      trainable: TRAINABLE,
      metaPrompt: randomIds(randomStream(0, 'bench', 'meta-prompt'), prompt, end).join(' '),
      minTokens: tokens, // exactly T tokens, as in the peer
      maxTokens: tokens,
      contextTokens: prompt + tokens,
    },
    compute,
  );
}

/** log p_ref of each attack: the adapter switched off. */
async function reference(attacker: Attacker, step: AttackerStep, attacks: readonly SampledAttack[]) {
  const state = { ...attacker.stateOf(step.policy.parameters), loraScale: scalarTensor(0) };
  const rows = await attacker.score(state, attacks);
  return rows.map((row) => row.reduce((sum, logProb) => sum + logProb, 0));
}

/** Counterpart of `peers/micro_step.py`. Adds `loss`, `phases` in seconds, and the seconds inside the runtime. */
export async function openMicroStep(options: SideOptions): Promise<Side> {
  const compute: ComputeOptions = { device: 'cpu', threads: options.threads };
  const shape = stepShape(options.isSmall);
  const weights = await stepWeights(options.cacheDir, shape);
  const meter = meterSessions();
  const attacker = await openBenchAttacker({ shape, weights }, compute);
  const step = await openAttackerStep(shape, weights, compute);
  const respond = await openTarget({ shape, weights }, options.variant, compute);
  const score = await openJudge(options, compute);
  return {
    name: 'micro-step-floodgate',
    settings: { shape, responses: RESPONSES, responseTokens: RESPONSE_TOKENS, variant: options.variant },
    run: async (index) => {
      meter.take();
      const requests = Array.from({ length: shape.batch }, (_, row) => ({
        stream: randomStream(index, 'bench', 'attack', row),
        temperature: 1,
      }));
      const state = attacker.stateOf(step.policy.parameters);
      const sampling = await timed(() => attacker.sample(state, requests));
      const attacks = sampling.value;
      const referenced = await timed(() => reference(attacker, step, attacks));
      const target = await timed(() => respond(attacks, index));
      const judge = await timed(() => score(attacks, target.value));
      const logRewards = Float32Array.from(attacks, (_, i) => {
        return (referenced.value[i] as number) + (judge.value[i] as number) / BETA;
      });
      const rows = attacks.map((attack) => attacker.rowOf(attack));
      const training = await timed(() => step.update(attacker.prompt, rows, logRewards));
      const phases = {
        sampling: sampling.seconds,
        reference: referenced.seconds,
        target: target.seconds,
        judge: judge.seconds,
        training: training.seconds,
      };
      return { loss: training.value, phases, sessions: meter.take() };
    },
  };
}
