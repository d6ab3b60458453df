import { stages as registry } from '../../stages/registry.ts';
import type { StageWords } from '../../stages/stage.ts';
import type { Report, ReportStage } from '../figures/report-json.ts';

/** The words of a stage. A stage that is not registered here has its own name as label. */
export function stageWords(name: string): StageWords {
  return registry.has(name) ? registry.get(name).words : { label: name, explain: '' };
}

export function isEvaluated({ metrics }: ReportStage): boolean {
  return typeof metrics.asr?.value === 'number';
}

/** True of a stage that is drawn from the truth itself: a yardstick, not an attacker. */
function isGiven({ name }: ReportStage): boolean {
  return registry.has(name) && registry.get(name).knowsTarget === 'given';
}

/** The attacker whose figures answer the question on the first screen; undefined before any evaluation. */
export function headlineStage({ stages }: Report): ReportStage | undefined {
  const evaluated = stages.filter(isEvaluated);
  const leading = evaluated
    .flatMap((stage) => {
      const { lead } = stageWords(stage.name);
      return lead === undefined ? [] : [{ stage, lead }];
    })
    .sort((a, b) => a.lead - b.lead)[0]?.stage;
  return leading ?? evaluated.findLast((stage) => !isGiven(stage)) ?? evaluated.at(-1);
}

/** True in a synthetic world: every way to fail was planted, so the report knows what was missed. */
export function isSyntheticWorld(stage: ReportStage | undefined): boolean {
  return stage?.metrics.modeRecall !== undefined;
}
