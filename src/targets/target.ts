/** How a target decodes. */
export interface DecodeSettings {
  readonly temperature: number;
  readonly topP: number;
  /** 0 = no top-k cut. */
  readonly topK: number;
  readonly maxNewTokens: number;
}

/** Sampled responses to one attack; `truncated` when cut at the token limit. */
export interface TargetResponse {
  readonly text: string;
  readonly tokens: number;
  readonly truncated: boolean;
}

export interface TargetRequest {
  readonly attack: string;
  /** Names the random stream of each response: `[...streamName, responseIndex]`. */
  readonly streamName: readonly (string | number)[];
}

/** The model under test. Implementations pass the contract suite in test/targets/. */
export interface Target {
  readonly name: string;
  /** `responses` samples for each request, in order: result[i].length === responses. */
  respond(requests: readonly TargetRequest[], responses: number, decode: DecodeSettings): Promise<TargetResponse[][]>;
  close(): Promise<void>;
}
