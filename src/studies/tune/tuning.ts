import type { Judge } from '../../judges/judge.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import type { Config } from '../../stages/config/config-schema.ts';
import type { Collected } from './collect-successes.ts';
import type { TuneFolder, TuneIdentity } from './tune-folder.ts';
import type { TuneModels, TuneSubject, TuneTexts } from './tune-models.ts';

/** Everything that a tuning works with. */
export interface Tuning {
  readonly run: RunFolder;
  readonly config: Config;
  readonly io: CampaignIo;
  readonly folder: TuneFolder;
  readonly models: TuneModels;
  readonly subject: TuneSubject;
  readonly texts: TuneTexts;
  readonly judges: readonly Judge[];
  readonly collected: Collected;
  readonly identity: TuneIdentity;
}
