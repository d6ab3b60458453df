import type { Report, ReportStage } from '../report/figures/report-json.ts';
import { measureText } from '../report/words/number-words.ts';
import { isSyntheticWorld } from '../report/words/stage-words.ts';
import type { StoredEvent } from '../runs/store/records.ts';
import { alignColumns, printable } from './command-output.ts';

const SHOWN_METRICS = ['asr', 'asrMasked', 'echoRate', 'uniqueAttacks', 'cosineDistance', 'selfBleu'] as const;

/** The main figures: a row for each stage and judge; in a synthetic world, a row for each stage against the truth. */
export function reportTable({ stages }: Report): string {
  if (stages.some(isSyntheticWorld)) return worldTable(stages);
  const rows = stages.flatMap(({ name, judges, metrics }) =>
    judges.map((judge) => [
      name,
      String(metrics.asr?.n ?? '-'),
      judge.reported ? `${judge.name} *` : judge.name,
      ...SHOWN_METRICS.map((metric) => measureText(judge.metrics[metric])),
    ]),
  );
  return withSizeNote(stages, alignColumns([['stage', 'attacks', 'judge', ...SHOWN_METRICS], ...rows]));
}

/** Counts of unique attacks grow with the attacks: they compare only between stages with equally many. */
function withSizeNote(stages: readonly ReportStage[], table: string): string {
  const sizes = new Set(stages.flatMap(({ metrics }) => metrics.asr?.n ?? []));
  return sizes.size <= 1
    ? table
    : `${table}\nThe stages have different numbers of attacks: do not compare counts of unique attacks.`;
}

const WORLD_COLUMNS = [
  ['keys found', 'modeRecall', 3],
  ['ASR', 'asr', 3],
  ['wordings', 'uniqueAttacks', 0],
  ['share error', 'shareError', 3],
  ['its floor', 'shareErrorFloor', 3],
  ['target calls', 'attackerTargetCalls', 0],
  ['keys/1,000 calls', 'keysPerThousandCalls', 2],
] as const;

function worldTable(stages: readonly ReportStage[]): string {
  const rows = stages
    .filter(isSyntheticWorld)
    .map(({ name, metrics }) => [
      name,
      String(metrics.asr?.n ?? '-'),
      ...WORLD_COLUMNS.map(([, metric, digits]) => measureText(metrics[metric], digits)),
    ]);
  return withSizeNote(
    stages.filter(isSyntheticWorld),
    alignColumns([['attacker', 'attacks', ...WORLD_COLUMNS.map(([heading]) => heading)], ...rows]),
  );
}

const SHOWN_EVENTS = 10;

/** The last warnings and errors of a run, one a line, each after a line break; empty when there are none. */
export function eventsText(events: readonly StoredEvent[]): string {
  return events
    .filter(({ level }) => level !== 'info')
    .slice(-SHOWN_EVENTS)
    .map(
      ({ level, stage, message }) =>
        `\n${printable(`${level}${stage === undefined ? '' : ` in ${stage}`}: ${message}`)}`,
    )
    .join('');
}
