import type { PlannedTarget, TargetConfig } from '../../targets/target-kind.ts';
import type { Config } from '../config/config.ts';
import type { CampaignIo } from '../stage.ts';
import { openConfigModels, openEach, type RunModels } from './run-models.ts';
import { openRunWorkers } from './run-workers.ts';

/** The models of a study over a stored run. */
export interface StudyModels {
  /** Its judges are asked by workers where the config has a queue. */
  readonly models: RunModels;
  /** A further target, which workers ask; undefined where this process must open it itself. */
  planElsewhere(target: TargetConfig): Promise<PlannedTarget | undefined>;
  /** Ends the connections to the queue, once judges and targets are closed. */
  close(): Promise<void>;
}

/** Whether int8 is compared with fp32 on attacks of the study, or the processor decides: then it is opened here. */
const isExact = ({ precision }: TargetConfig): boolean => precision === undefined || precision === 'fp32';

/** In place of the target where judges alone are asked: its model may be on this machine alone, as a tuned one is. */
const noTarget = ({ target: { responses, decode } }: Config): TargetConfig =>
  ({ kind: 'scripted', otherwise: ['none'], responses, decode }) as unknown as TargetConfig;

/**
 * Opens the models of a config for a study, each on request.
 * @param folder of the run; absent where there is none.
 * @throws FloodgateError as `openConfigModels`, and `run` where the queue has no worker.
 */
export async function openStudyModels(config: Config, io: CampaignIo, folder?: string): Promise<StudyModels> {
  const models = await openConfigModels(config, io);
  const own = folder === undefined ? {} : { folder };
  const workers = await openRunWorkers({ ...config, target: noTarget(config) }, io, own);
  if (workers === undefined) return { models, planElsewhere: async () => undefined, close: async () => undefined };
  const opened = [workers];
  const all = [config.judges.training, ...config.judges.evaluation];
  const asked: RunModels = {
    ...models,
    openJudge: workers.openJudge,
    openJudges: (watch = (judge) => judge) =>
      openEach(all, async (judge) => watch(await workers.openJudge(judge), judge)),
  };
  return {
    models: asked,
    planElsewhere: async (target) => {
      if (!isExact(target)) return undefined;
      // The judges are asked apart: their verdicts would come twice.
      const further = await openRunWorkers({ ...config, target }, io, { ...own, verdictsCome: false });
      if (further !== undefined) opened.push(further);
      return further?.planned;
    },
    close: async () => {
      for (const each of opened) await each.close();
    },
  };
}
