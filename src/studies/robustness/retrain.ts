import { join } from 'node:path';
import { openRunFolder, type RunFolder, runStatus } from '../../runs/run-folder.ts';
import type { StoredMetric } from '../../runs/store/records.ts';
import { hasBegun, openStore } from '../../runs/store/run-store.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';
import { loadRunConfig } from '../../stages/campaign/config-load.ts';
import type { WantedRun } from '../../stages/campaign/run-elsewhere.ts';
import type { Config } from '../../stages/config/config.ts';
import { mapTargetModels } from '../../targets/registry.ts';
import type { RobustnessCell } from './robustness-file.ts';

/** Where an attacker is retrained: `RUN/robustness/DATA/ATTACKER`, a run folder like any other. */
export interface RetrainPlace {
  /** `RUN/robustness/DATA`. */
  readonly runsFolder: string;
  readonly attacker: string;
}

/** The figures of an attacker's own evaluation, by judge; undefined when it was not evaluated. */
export async function readEvaluation(
  { databasePath }: RunFolder,
  attacker: string,
): Promise<Pick<RobustnessCell, 'status' | 'judges'> | undefined> {
  const store = await openStore(databasePath, { readOnly: true });
  try {
    const stage = evaluationStage(attacker);
    const isDone = store.stages().some(({ name, status }) => name === stage && status === 'done');
    if (isDone) return { status: 'done', judges: judgesOf(store.metrics(stage)) };
    const isEmpty = store.events().some((event) => event.stage === attacker && event.code === 'nothing-collected');
    return isEmpty ? { status: 'nothing-collected', judges: [] } : undefined;
  } finally {
    store.close();
  }
}

/** Success rate and unique attacks by judge, the last value of each. */
export function judgesOf(metrics: readonly StoredMetric[]): RobustnessCell['judges'] {
  const names = [...new Set(metrics.flatMap(({ judge }) => (judge === undefined ? [] : [judge])))];
  return names.flatMap((name) => {
    const measureOf = (wanted: string) => {
      const found = metrics.findLast((row) => row.name === wanted && row.judge === name);
      if (found === undefined) return undefined;
      const { value, low, high, n, method = '', confidence = null } = found;
      return { value, low, high, n, method, confidence };
    };
    const [asr, uniqueAttacks] = [measureOf('asr'), measureOf('uniqueAttacks')];
    return asr === undefined || uniqueAttacks === undefined ? [] : [{ name, asr, uniqueAttacks }];
  });
}

/**
 * The figures of a retrained attacker, from the run `name`; undefined until the whole run is done: the search for causes
 * follows its evaluation.
 */
export async function readRetrained({ runsFolder, attacker }: RetrainPlace, name: string = attacker) {
  if (!hasBegun(join(runsFolder, name, 'run.db'))) return undefined;
  const run = await openRunFolder(name, runsFolder);
  return (await isRunDone(run)) ? readEvaluation(run, attacker) : undefined;
}

async function isRunDone(run: RunFolder): Promise<boolean> {
  const store = await openStore(run.databasePath, { readOnly: true });
  try {
    return (await runStatus(run, store)) === 'done';
  } finally {
    store.close();
  }
}

/** The config with another model behind its target, and everything else as it is. */
export function againstModel(config: Config, modelPath: string): Config {
  return { ...config, target: mapTargetModels(config.target, () => modelPath) };
}

/**
 * The run that trains an attacker from scratch against `modelPath`, by the config of `run` and nothing else changed.
 * Undefined where it is done.
 */
export async function wantedRetraining(
  run: RunFolder,
  place: RetrainPlace,
  { modelPath, overrides }: { readonly modelPath: string; readonly overrides: readonly string[] },
): Promise<Omit<WantedRun, 'note'> | undefined> {
  if ((await readRetrained(place)) !== undefined) return undefined;
  const { runsFolder, attacker } = place;
  const config = await loadRunConfig(run, [...overrides, `attackers=${JSON.stringify([attacker])}`]);
  return { config: againstModel(config, modelPath), runsFolder, name: attacker, modelPath };
}
