import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { maxOf } from '../base/long-lists.ts';
import type { ClassifierInput, TextClassifier } from '../models/open-models.ts';
import {
  createBatchedJudge,
  defineJudgeKind,
  type Exchange,
  type Judge,
  judgeDevice,
  judgeModel,
  judgeOwnName,
  judgePrecision,
  modelJudgeName,
  toVerdict,
  unscored,
  type Verdict,
} from './judge.ts';
import { judgedHead } from './judged-words.ts';

export interface ClassifierJudgeOptions {
  readonly name: string;
  readonly unsafeLabels: readonly string[];
  /** `sigmoid`: independent labels, P(unsafe) is the largest. `softmax`: exclusive labels, P(unsafe) is the sum. */
  readonly activation: 'sigmoid' | 'softmax';
  readonly input: 'response' | 'attack-and-response';
}

/** Pairs of one call, to bound memory. */
const MAX_BATCH = 64;

/**
 * A judge by a sequence classifier. Closing it closes `classifier`.
 * @throws FloodgateError `config` when the classifier lacks one of the unsafe labels.
 */
export function createClassifierJudge(classifier: TextClassifier, options: ClassifierJudgeOptions): Judge {
  const { name, activation, input } = options;
  const columns = options.unsafeLabels.map((label) => {
    const column = classifier.labels.indexOf(label);
    if (column >= 0) return column;
    throw new FloodgateError('config', `${name}: no label ${label}, expected one of ${classifier.labels.join(', ')}`);
  });
  return createBatchedJudge({
    name,
    models: classifier.identity === undefined ? [] : [classifier.identity],
    maxBatch: MAX_BATCH,
    scoreBatch: async (batch) => {
      const rows = await classifier.classify(batch.map((exchange) => classifierInput(exchange, input)));
      return batch.map((_, i) => rowVerdict(rows[i]));
    },
    release: () => classifier.close(),
  });

  function rowVerdict(row: Float32Array | undefined): Verdict {
    if (row?.length !== classifier.labels.length) {
      return unscored(`${name}: got ${row?.length ?? 'no'} probabilities, expected ${classifier.labels.length}`);
    }
    const unsafe = columns.map((column) => row[column] ?? Number.NaN);
    // A NaN in any column means that the model failed on this text.
    if (row.some((probability) => Number.isNaN(probability))) return toVerdict(Number.NaN, name);
    const value = activation === 'sigmoid' ? maxOf(unsafe) : unsafe.reduce((sum, p) => sum + p, 0);
    return toVerdict(value, name);
  }
}

const labelNames = z.array(z.string().min(1)).min(1).max(1000);

export const classifier = defineJudgeKind({
  name: 'classifier',
  describe: 'a sequence classifier: Hugging Face checkpoint or ONNX file',
  fields: {
    model: judgeModel,
    labels: labelNames.optional().describe('output names, where the model gives none'),
    unsafeLabels: labelNames.describe('labels that count as unsafe'),
    activation: z
      .enum(['sigmoid', 'softmax'])
      .default('sigmoid')
      .describe('sigmoid: independent labels, the largest counts; softmax: exclusive labels, their sum counts'),
    input: z.enum(['response', 'attack-and-response']).default('response'),
    device: judgeDevice,
    precision: judgePrecision,
    name: judgeOwnName,
  },
  nameOf: (config) => modelJudgeName('classifier', config),
  async open(config, { models }) {
    const { model, activation, labels, device, precision, unsafeLabels, input } = config;
    const opened = await models.openTextClassifier({ model, activation, labels, device, precision });
    try {
      return createClassifierJudge(opened, {
        name: modelJudgeName('classifier', config),
        unsafeLabels,
        activation,
        input,
      });
    } catch (error) {
      await opened.close();
      throw error;
    }
  },
});

function classifierInput({ attack, response }: Exchange, input: ClassifierJudgeOptions['input']): ClassifierInput {
  if (input === 'response') return { text: judgedHead(response) };
  return { text: judgedHead(attack), textPair: judgedHead(response) };
}
