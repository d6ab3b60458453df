/** How a target decodes. */
export interface DecodeSettings {
  /** 0 = always the likeliest token. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = no top-k cut. */
  readonly topK: number;
  readonly maxNewTokens: number;
}

/** The cost of one answer. */
export interface Usage {
  /** Responses sampled: 0 where the target was never asked. */
  readonly calls: number;
  /** Tokens sampled, the end token included. */
  readonly tokens: number;
  /** Tokens of the prompt, where the server counts them. Of several answers to one prompt, the first has them all. */
  readonly promptTokens?: number;
  /** The server counted no tokens: their number is a guess from the length of the text. */
  readonly isEstimated?: true;
}

/** One answer to one attack. Only `text` can be judged. */
export type TargetAnswer =
  /** `truncated` when cut at the token limit. */
  | { readonly kind: 'text'; readonly text: string; readonly truncated: boolean; readonly usage: Usage }
  /** The provider refused before its model answered: an answer, judged safe, counted apart. */
  | { readonly kind: 'refused'; readonly reason: string; readonly usage: Usage }
  /** No answer: the attack does not fit the model, or the call failed permanently. Never read as safe. */
  | { readonly kind: 'failed'; readonly reason: string; readonly usage: Usage };

export interface TargetRequest {
  readonly attack: string;
  /** Names the random stream of each response: `[...streamName, responseIndex]`. */
  readonly streamName: readonly (string | number)[];
  /** Indices of the responses that are drawn, for a target that `isOneByOne`. When absent, 0 to `responses` - 1. */
  readonly samples?: readonly number[];
}

/** Told that calls have ended. `isBrokenOff`: an abort ended them, so their answers never come. */
export type EndOfCalls = (isBrokenOff?: boolean) => void;

/** An answer and its place among the responses to its request. */
export interface ArrivedAnswer {
  readonly answer: TargetAnswer;
  readonly response: number;
}

/** Watches the single calls of a target that `isOneByOne`. */
export interface CallWatch {
  /**
   * Waits until `calls` more calls of one request may begin; the result is called when they have ended.
   * @param request its index.
   * @throws FloodgateError `interrupted` when no more may begin: those under way end, and their answers arrive.
   */
  admit(calls: number, request: number): Promise<EndOfCalls>;
  /**
   * Answers to one request have come together: one call brought them all, and a call that is repeated asks for all.
   * @param request its index.
   */
  arrived(answers: readonly ArrivedAnswer[], request: number): void;
}

export interface AskOptions {
  /** Answers drawn for each request. */
  readonly responses: number;
  readonly decode: DecodeSettings;
  readonly signal?: AbortSignal;
  /** For a target that `isOneByOne`; others do not read it. */
  readonly watch?: CallWatch;
}

/** How a target elsewhere is asked just now. */
export interface TargetStatus {
  /** Bound on the calls under way. */
  readonly atOnce: number;
  readonly underWay: number;
  /** Calls that its server answered with status 429, since it was opened. */
  readonly rateLimited: number;
}

/** The model under test. Implementations pass the contract suites in test/targets/. */
export interface Target {
  readonly name: string;
  /** True when it reads `samples` of requests, and shows its calls one by one to `watch`. */
  readonly isOneByOne?: true;
  /** How it is asked just now; absent for a target on this machine. */
  status?(): TargetStatus;
  /**
   * `responses` answers to each request, in order: result[i].length === responses. An attack that cannot be asked gets
   * the answer `failed`: an attack is never cut.
   * @throws FloodgateError `interrupted` on abort; `target` after `close`.
   */
  ask(requests: readonly TargetRequest[], options: AskOptions): Promise<TargetAnswer[][]>;
  /** Frees what the target holds; waits for calls under way. May be called twice. */
  close(): Promise<void>;
}
