interface EncoderShape {
  readonly vocabSize: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForwardWidth: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  readonly padId: number;
}

/** BERT, RoBERTa and DistilBERT encoders; `labels` is empty for a sentence encoder. */
export interface EncoderConfig extends EncoderShape {
  readonly family: 'bert' | 'roberta' | 'distilbert';
  /** Rows of the token-type table; 0 for DistilBERT. */
  readonly tokenTypes: number;
  /** Label names in output order, from `id2label`; empty when the checkpoint has no classification head. */
  readonly labels: readonly string[];
  /** How a classifier's logits become probabilities (`problem_type`). */
  readonly problem: 'single-label' | 'multi-label';
  /** Longest input in tokens, special tokens included. */
  readonly maxTokens: number;
}
