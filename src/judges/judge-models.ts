import type { Device } from '../runtime/device.ts';

/** What the classifier judge needs of a model. Who opens models gives it one; judges/ loads no weights. */
export interface TextClassifier {
  /** Names of the outputs, in order. */
  readonly labels: readonly string[];
  /**
   * One row of probabilities a pair, [pairs][labels]; the activation was chosen when it was opened. Text beyond the
   * model's window is cut by the classifier, the end first.
   */
  classify(pairs: readonly ClassifierInput[]): Promise<Float32Array[]>;
  close(): Promise<void>;
}

export interface ClassifierInput {
  readonly text: string;
  readonly textPair?: string;
}

/** Which classifier to open. */
export interface TextClassifierSpec {
  readonly model: string;
  readonly activation: 'sigmoid' | 'softmax';
  /** Names of the outputs where the model's own files give none. */
  readonly labels: readonly string[] | undefined;
  readonly device: Device;
}

/** What the guard judge needs of a language model. */
export interface LabelScorer {
  /**
   * Log-probability in nats of each label as the continuation of each prompt, summed over the label's tokens:
   * [prompts][labels]. Prompts are whole: special tokens stand in them as text and are parsed, a BOS is added only
   * where the tokenizer adds one by itself, no chat template is applied.
   */
  scoreLabels(prompts: readonly string[], labels: readonly string[]): Promise<Float64Array[]>;
  close(): Promise<void>;
}

export interface LabelScorerSpec {
  readonly model: string;
  readonly device: Device;
}

/** How judges get at models. */
export interface JudgeModels {
  openTextClassifier(spec: TextClassifierSpec): Promise<TextClassifier>;
  openLabelScorer(spec: LabelScorerSpec): Promise<LabelScorer>;
}
