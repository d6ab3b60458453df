import type { PullRecord } from './model-cache.ts';
import type { SourceSettings } from './source-environment.ts';

/** What a source is given to bring one model. */
export interface FetchRequest {
  /** Canonical text of the spec. */
  readonly specText: string;
  readonly settings: SourceSettings;
  /** Finished files go here, under their names inside the model. */
  readonly outFolder: string;
  /** Unfinished work; kept when the fetch fails, so that the next one goes on. */
  readonly scratchFolder: string;
  /** What the first pull of this spec brought, when there was one: the same must come again. */
  readonly record: PullRecord | undefined;
}

/** Brings a model: every file in `outFolder`, verified as far as the source can tell. Returns what was brought. */
export type ModelFetcher = (request: FetchRequest) => Promise<PullRecord>;
