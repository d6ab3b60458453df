/** One attack and one response to it. */
export interface Exchange {
  readonly attack: string;
  readonly response: string;
}

/** `unscored` is never read as safe: it gives no reward and is counted. */
export type Verdict =
  | { readonly kind: 'scored' /** P(unsafe) in [0, 1]. */; readonly unsafe: number }
  | { readonly kind: 'unscored'; readonly reason: string };

/** What scores exchanges with P(unsafe). Implementations pass the contract suite in test/judges/. */
export interface Judge {
  /** Stable name for reports and manifests, e.g. `alt-profanity-check`. */
  readonly name: string;
  /** One verdict an exchange, in order. Never throws for a bad text: that is an `unscored` verdict. */
  score(exchanges: readonly Exchange[]): Promise<Verdict[]>;
  close(): Promise<void>;
}
