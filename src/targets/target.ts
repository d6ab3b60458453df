/** How a target decodes. */
export interface DecodeSettings {
  /** 0 = always the likeliest token. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 = no top-k cut. */
  readonly topK: number;
  readonly maxNewTokens: number;
}

/** One sampled response to one attack; `truncated` when cut at the token limit. */
export interface TargetResponse {
  readonly text: string;
  /** Tokens sampled, the end token included. */
  readonly tokens: number;
  readonly truncated: boolean;
}

export interface TargetRequest {
  readonly attack: string;
  /** Names the random stream of each response: `[...streamName, responseIndex]`. */
  readonly streamName: readonly (string | number)[];
}

export interface RespondOptions {
  readonly signal?: AbortSignal;
}

/** The model under test. Implementations pass the contract suite in test/targets/. */
export interface Target {
  readonly name: string;
  /**
   * Why this attack cannot be asked (such as its length in tokens); undefined when it can. Ask before `respond`, and
   * count what is left out: an attack is never cut.
   */
  rejectionOf(attack: string, decode: DecodeSettings): string | undefined;
  /**
   * `responses` samples for each request, in order: result[i].length === responses.
   * @throws FloodgateError `target` before any work when an attack cannot be asked; `interrupted` on abort.
   */
  respond(
    requests: readonly TargetRequest[],
    responses: number,
    decode: DecodeSettings,
    options?: RespondOptions,
  ): Promise<TargetResponse[][]>;
  /** Frees what the target holds; waits for calls under way. May be called twice. */
  close(): Promise<void>;
}
