import type { DecisionQuality, JudgeCalibration, ReliabilityBin, ThresholdRule } from '../metrics/judge-calibration.ts';
import { counted, measureText } from '../report/words/number-words.ts';
import type { CorrectedAttacker } from '../studies/calibration/corrected-rates.ts';
import { alignColumns } from './command-output.ts';

/** A finished calibration, as JSON and as text. */
export interface CalibrationResult {
  readonly file: { readonly path: string; readonly sha256: string; readonly unlabelled: number };
  /** Null when the file states the scores and no judge is named. */
  readonly judge: string | null;
  /** `run`: the scores are the verdicts of the run. */
  readonly scoredBy: 'file' | 'judge' | 'run';
  /** Where the examples are answers that readers labelled; `inSample` of them are a random sample. */
  readonly labels: { readonly answers: number; readonly labelled: number; readonly inSample: number } | null;
  /** Labelled examples that have no score. */
  readonly unscored: number;
  readonly rule: ThresholdRule;
  readonly calibration: JudgeCalibration;
  readonly run: { readonly run: string; readonly attackers: readonly CorrectedAttacker[] } | null;
}

const SCORED_WORDS: Readonly<Record<CalibrationResult['scoredBy'], string>> = {
  file: 'scores stated in the file',
  judge: 'scored now',
  run: 'its verdicts in the run',
};

function labelsText(labels: CalibrationResult['labels']): string[] {
  if (labels === null) return [];
  const { answers, labelled, inSample } = labels;
  const chosen = labelled - inSample;
  if (chosen === 0) return [`a random sample of the ${counted(answers, 'answer')} of the run's evaluations`];
  return [`warning: ${chosen} of them are not in the random sample: answers that a reader chose say less of the judge`];
}

function headText({ file, judge, scoredBy, labels, unscored, calibration }: CalibrationResult): string {
  const { examples, unsafeExamples } = calibration;
  const leftOut = [
    ...(file.unlabelled > 0 ? [`${file.unlabelled} without a label`] : []),
    ...(unscored > 0 ? [`${unscored} that could not be scored`] : []),
  ].join(', ');
  const from = SCORED_WORDS[scoredBy];
  return [
    `judge ${judge ?? '(not named)'}, ${from}`,
    `${counted(examples, 'example')}, ${unsafeExamples} of them unsafe${leftOut === '' ? '' : `; left out: ${leftOut}`}`,
    ...labelsText(labels),
  ].join('\n');
}

function ruleText(rule: ThresholdRule): string {
  return rule.kind === 'youden' ? "Youden's index" : `specificity ${rule.least}`;
}

function decisionRow(name: string, { threshold, sensitivity, specificity }: DecisionQuality): string[] {
  return [name, threshold.toFixed(3), measureText(sensitivity, 3), measureText(specificity, 3)];
}

const PLOT_WIDTH = 41;

/** The share of unsafe examples (`o`) and the mean score (`+`) on a line from 0 to 1; `*` where they meet. */
function plotLine({ meanScore, unsafe }: ReliabilityBin): string {
  const at = (share: number): number => Math.round(share * (PLOT_WIDTH - 1));
  if (meanScore === null || unsafe.value === null) return '';
  const [score, share] = [at(meanScore), at(unsafe.value)];
  const [low, high] = [at(unsafe.low ?? unsafe.value), at(unsafe.high ?? unsafe.value)];
  return Array.from({ length: PLOT_WIDTH }, (_, place) => {
    if (place === score) return place === share ? '*' : '+';
    if (place === share) return 'o';
    return place >= low && place <= high ? '-' : '.';
  }).join('');
}

function reliabilityText(bins: readonly ReliabilityBin[]): string {
  const rows = bins.map((bin) => [
    `${bin.low.toFixed(1)}-${bin.high.toFixed(1)}`,
    String(bin.n),
    bin.meanScore === null ? '-' : bin.meanScore.toFixed(3),
    measureText(bin.unsafe, 3),
    plotLine(bin),
  ]);
  return alignColumns([
    ['score', 'examples', 'mean score', 'labelled unsafe', '+ mean score, o unsafe share'],
    ...rows,
  ]);
}

function runText({ run, attackers }: NonNullable<CalibrationResult['run']>): string {
  const rows = attackers.flatMap(({ attacker, asr, answers, asRun, chosen }) => {
    const shares = [asRun, ...(chosen === null ? [] : [chosen])].map(({ threshold, raw, corrected, correctedAsr }) => [
      threshold.toFixed(3),
      ...[raw, corrected, correctedAsr].map((share) => measureText(share, 3)),
    ]);
    const [first = [], second] = shares;
    const isOther = second !== undefined && second.join() !== first.join();
    return [[attacker, measureText(asr, 3), String(answers), ...first], ...(isOther ? [['', '', '', ...second]] : [])];
  });
  const shares = ['answers called unsafe', 'unsafe answers, corrected', 'ASR, corrected'];
  const heading = ['attacker', 'ASR', 'answers', 'threshold', ...shares];
  const notes = attackers.flatMap(({ attacker, asRun, chosen, unscored, refused }) => [
    ...(asRun.isPlausible && chosen?.isPlausible !== false
      ? []
      : [`warning: ${attacker}: the errors on the examples cannot explain its share: they do not resemble the run`]),
    ...(unscored > 0 ? [`${attacker}: ${counted(unscored, 'answer')} could not be scored`] : []),
    ...(refused > 0 ? [`${attacker}: ${counted(refused, 'refusal')} of the provider, read by no judge`] : []),
  ]);
  return [`run ${run}: corrected for the judge's errors`, alignColumns([heading, ...rows]), ...notes].join('\n');
}

/** The whole result for people. */
export function calibrationText(result: CalibrationResult): string {
  const { calibration, rule, run } = result;
  const { roc, precisionRecall, asRun, chosen, brier, calibrationError } = calibration;
  const decisions = [
    decisionRow('as a run counts', asRun),
    ...(chosen === null ? [] : [decisionRow(ruleText(rule), chosen)]),
  ];
  return [
    headText(result),
    '',
    alignColumns([
      ['area under ROC', measureText(roc.area, 3), roc.area.method],
      ['area under precision-recall', measureText(precisionRecall.area, 3), precisionRecall.area.method],
      ['Brier score', brier.toFixed(3), ''],
      ['calibration error', calibrationError.toFixed(3), 'mean over ten bins'],
    ]),
    '',
    alignColumns([['unsafe above', 'threshold', 'sensitivity', 'specificity'], ...decisions]),
    ...(chosen === null ? ['a label has one example: no threshold can be chosen and measured'] : []),
    '',
    reliabilityText(calibration.reliability),
    ...(run === null ? [] : ['', runText(run)]),
  ].join('\n');
}
