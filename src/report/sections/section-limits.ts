import { append } from '../../base/long-lists.ts';
import { SHARED_COSINE, SHARED_WORDS } from '../../metrics/causes-ways.ts';
import { html } from '../words/html.ts';
import { counted, percentText, plainNumber } from '../words/number-words.ts';
import { isSyntheticWorld, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';
import { trialSize } from './trial-size.ts';

/** One reason to trust the figures of the first screen, or not to. */
export interface Sign {
  readonly isGood: boolean;
  readonly short: string;
  readonly text: string;
}

/** Cohen's kappa from which two judges are commonly said to agree substantially (Landis and Koch, 1977). */
const SUBSTANTIAL_KAPPA = 0.6;
const MANY_ECHOES = 0.2;
const MOST_ECHOES = 0.5;

function ofSize(content: PageContent): Sign[] {
  const asr = content.headline?.metrics.asr;
  if (asr === undefined) return [];
  const { trainingCalls, isTrainingShort, isNarrow, isTooLittle, high } = trialSize(content);
  const drawn = `${counted(asr.n, 'new attack')}, ${counted(content.responses, 'answer')} each, all drawn after training`;
  const training = isTrainingShort
    ? `, for which the target was called only ${counted(trainingCalls ?? 0, 'time')}: a longer run may find more`
    : '';
  const open = isTooLittle && high !== null ? ` A success rate of ${percentText(high)} is still possible.` : '';
  const text = `${drawn}${training}.${open}`;
  if (isTooLittle) return [{ isGood: false, short: 'Too little tried', text }];
  if (isTrainingShort) return [{ isGood: false, short: 'Short training', text }];
  return [{ isGood: isNarrow, short: isNarrow ? 'Enough attacks' : 'Few attacks', text }];
}

function ofJudge({ report, headline }: PageContent): Sign[] {
  if (isSyntheticWorld(headline)) {
    const text = 'The ways to fail were planted, and the judge knows the alarm when it sees it.';
    return [{ isGood: true, short: 'Truth known', text }];
  }
  const { isJudgeIndependent, reportedJudge, trainingJudge } = report.run;
  if (!isJudgeIndependent) {
    const text = `${reportedJudge} also gave the reward in training: the attacker may have learnt the judge’s mistakes.`;
    return [{ isGood: false, short: 'Judge not independent', text }];
  }
  const kappa = headline?.metrics.judgeKappa?.value;
  const agreement = headline?.metrics.judgeAgreement?.value;
  const agree =
    typeof agreement === 'number' && typeof kappa === 'number'
      ? ` They agree on ${percentText(agreement)} (kappa ${plainNumber(kappa)}).`
      : '';
  const text = `${reportedJudge} took no part in training; ${trainingJudge} gave the reward.${agree}`;
  const isGood = typeof kappa !== 'number' || kappa >= SUBSTANTIAL_KAPPA;
  return [{ isGood, short: isGood ? 'Independent judge' : 'Judges disagree', text }];
}

function ofEcho({ headline }: PageContent): Sign[] {
  const echo = headline?.metrics.echoRate;
  if (typeof echo?.value !== 'number') return [];
  const isGood = echo.value <= MANY_ECHOES;
  const short = isGood ? 'Few echoes' : echo.value > MOST_ECHOES ? 'Mostly echoes' : 'Many echoes';
  const text = `${percentText(echo.value)} of ${counted(echo.n, 'success', 'successes')} fail once the attack’s own words are masked.`;
  return [{ isGood, short, text }];
}

function ofEvents({ events, report }: PageContent): Sign[] {
  const warnings = events.filter(({ level }) => level !== 'info').length;
  const isDone = report.run.status === 'done';
  const signs: Sign[] = [];
  if (!isDone)
    signs.push({ isGood: false, short: `Run ${report.run.status}`, text: 'What is shown may be incomplete.' });
  if (warnings > 0) {
    signs.push({
      isGood: false,
      short: counted(warnings, 'warning'),
      text: 'Listed under the limits of the evidence.',
    });
  }
  return signs;
}

function ofMeaning({ report, measures }: PageContent): Sign[] {
  if (measures === undefined) return [];
  const { quality, answer } = measures;
  const short = `${quality.charAt(0).toUpperCase()}${quality.slice(1)}, not harm`;
  return [{ isGood: false, short, text: `${report.run.reportedJudge} rates ${answer} as unsafe.` }];
}

/** Reasons for and against trusting the figures of the first screen. */
export function sureness(content: PageContent): Sign[] {
  return [...ofSize(content), ...ofJudge(content), ...ofEcho(content), ...ofMeaning(content), ...ofEvents(content)];
}

/** Limits of every run. */
function alwaysTrue({ config, report, measures, headline }: PageContent): string[] {
  const { decode } = config.target;
  return [
    measures !== undefined
      ? `The judge ${report.run.reportedJudge} measures ${measures.quality}, not harm: “unsafe” here means ${measures.answer}.`
      : `“Unsafe” means what the judge ${report.run.reportedJudge} takes for unsafe; judges err, and each in its own way.`,
    'The success rate is that of this attacker’s messages. It is not how often the target fails in ordinary use.',
    `The target answered at temperature ${decode.temperature}, with at most ${decode.maxNewTokens} tokens an answer; other settings give other figures.`,
    `Two attacks are one wording when their embeddings are close (cosine above ${config.evaluation.uniqueThreshold}); another encoder or threshold counts other numbers.`,
    ...(headline?.causes === undefined
      ? []
      : [
          `Two causes are one way when one holds the other, when they share more than ${percentText(SHARED_WORDS)} of their words, or when their embeddings are close (cosine ${SHARED_COSINE}).`,
        ]),
    `One run with one seed (${report.run.seed}): the intervals cover the draw of attacks, not the luck of training.`,
  ];
}

/** Limits on what is known of unfound ways; of unfound wordings where ways were not looked for. */
function ofUnfound(headline: PageContent['headline']): string[] {
  if (headline === undefined) return [];
  const { metrics, causes } = headline;
  const isKnown = (name: string): boolean => typeof (causes?.metrics[name] ?? metrics[name])?.value === 'number';
  const [finds, estimates] =
    causes === undefined
      ? (['wordings', ['missingMass', 'chao1', 'waysUnseen']] as const)
      : (['ways', ['waysMissingMass', 'waysChao1']] as const);
  const limits: string[] = [];
  if (causes === undefined && (metrics.asr?.value ?? 0) > 0)
    limits.push('Ways were not looked for: wordings say how many different texts succeed, not for how many reasons.');
  if (estimates.some(isKnown))
    limits.push(
      `Estimates of unfound ${finds} speak of what this attacker would still find, not of all there are; bounds from below are not guesses.`,
    );
  else if (!isKnown('modeRecall'))
    limits.push(
      `How many ${finds} are still unfound was not estimated: the number of ${finds} is what was found, not what exists.`,
    );
  return limits;
}

function ofThisRun({ headline, report, vectors, events }: PageContent): string[] {
  const limits: string[] = [];
  const metrics = headline?.metrics ?? {};
  if (isSyntheticWorld(headline))
    limits.push(
      'This world is synthetic: its figures say how well an attacker searches, and nothing of any real model.',
    );
  else if (!report.run.isJudgeIndependent)
    limits.push(
      `The only judge, ${report.run.reportedJudge}, also gave the reward: no figure here is independent evidence.`,
    );
  const echo = metrics.echoRate;
  if (typeof echo?.value === 'number' && echo.value > 0)
    limits.push(
      `${percentText(echo.value)} of the successes are echoes: the answer is unsafe only in words that the attack brought along.`,
    );
  append(limits, ofUnfound(headline));
  if (headline !== undefined && typeof metrics.referenceFailureRate?.value !== 'number')
    limits.push('How often the target fails on requests that nobody optimised was not estimated.');
  const excluded = metrics.excluded?.value ?? 0;
  if (excluded > 0) limits.push(`${counted(excluded, 'attack')} could not be scored and are left out.`);
  if (vectors.kind === 'missing')
    limits.push(`The encoder ${vectors.encoder} could not be used when this page was made: ${vectors.reason}.`);
  for (const { level, stage, message } of events) {
    if (level !== 'info')
      limits.push(
        `${level === 'error' ? 'Error' : 'Warning'}${stage === undefined ? '' : ` in ${stageWords(stage).label}`}: ${message}.`,
      );
  }
  return limits;
}

/** Limits of the evidence: what the figures do not show. */
export function limitsSection(content: PageContent): PageSection {
  const limits = [...ofThisRun(content), ...alwaysTrue(content)];
  return {
    id: 'limits',
    title: 'Limits of the evidence',
    note: 'What these figures cannot tell.',
    body: html`<ul class="limits">${limits.map((limit) => html`<li>${limit}</li>`)}</ul>`,
  };
}
