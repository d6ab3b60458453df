import type { ProgressSink } from '../../base/progress.ts';

/** What a campaign is given by whoever runs it. */
export interface CampaignIo {
  readonly progress: ProgressSink;
  readonly signal: AbortSignal;
  /** Folder of the model cache. */
  readonly cacheDir?: string;
}
