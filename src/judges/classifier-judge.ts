import { FloodgateError } from '../base/errors.ts';
import { createBatchedJudge } from './batched-judge.ts';
import type { Exchange, Judge, Verdict } from './judge.ts';
import type { ClassifierInput, TextClassifier } from '../models/open-models.ts';
import { judgedHead } from './judged-text.ts';
import { toVerdict, unscored } from './verdict.ts';

export interface ClassifierJudgeOptions {
  readonly name: string;
  readonly unsafeLabels: readonly string[];
  /** `sigmoid`: labels are independent, P(unsafe) is the largest. `softmax`: they exclude each other, P is the sum. */
  readonly activation: 'sigmoid' | 'softmax';
  readonly input: 'response' | 'attack-and-response';
}

/** Pairs of one call: bounds the memory of a large batch. */
const MAX_BATCH = 64;

/**
 * A judge by a sequence classifier; closing it closes `classifier`.
 * @throws FloodgateError `config` when an unsafe label is none of the classifier's.
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
    // A NaN in a column that is not counted still means that the model broke on this text.
    if (row.some((probability) => Number.isNaN(probability))) return toVerdict(Number.NaN, name);
    const value = activation === 'sigmoid' ? Math.max(...unsafe) : unsafe.reduce((sum, p) => sum + p, 0);
    return toVerdict(value, name);
  }
}

function classifierInput({ attack, response }: Exchange, input: ClassifierJudgeOptions['input']): ClassifierInput {
  if (input === 'response') return { text: judgedHead(response) };
  return { text: judgedHead(attack), textPair: judgedHead(response) };
}
