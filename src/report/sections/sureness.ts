import { measuresRudeness } from '../words/judge-words.ts';
import { counted, percentText, plainNumber } from '../words/number-words.ts';
import { isMadeWorld } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';

/** One reason to trust the figures of the first screen, or not to. */
export interface Sign {
  readonly isGood: boolean;
  readonly short: string;
  readonly text: string;
}

/** Width of the success rate's interval above which the run is small. */
const WIDE_INTERVAL = 0.2;
/** Cohen's kappa from which two judges are commonly said to agree substantially (Landis and Koch, 1977). */
const SUBSTANTIAL_KAPPA = 0.6;
const MANY_ECHOES = 0.2;
const MOST_ECHOES = 0.5;

function ofSize({ headline, responses }: PageContent): Sign[] {
  const asr = headline?.metrics.asr;
  if (asr === undefined) return [];
  const isNarrow = asr.low !== null && asr.high !== null && asr.high - asr.low <= WIDE_INTERVAL;
  const text = `${counted(asr.n, 'new attack')}, ${counted(responses, 'answer')} each, all drawn after training`;
  return [{ isGood: isNarrow, short: isNarrow ? 'Enough attacks' : 'Few attacks', text: `${text}.` }];
}

function ofJudge({ report, headline }: PageContent): Sign[] {
  if (isMadeWorld(headline)) {
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

function ofMeaning({ report }: PageContent): Sign[] {
  const text = `What ${report.run.reportedJudge} rates as unsafe are rude or insulting answers.`;
  return measuresRudeness(report.run.reportedJudge) ? [{ isGood: false, short: 'Rudeness, not harm', text }] : [];
}

/** Returns what speaks for and against the first screen's figures. */
export function sureness(content: PageContent): Sign[] {
  return [...ofSize(content), ...ofJudge(content), ...ofEcho(content), ...ofMeaning(content), ...ofEvents(content)];
}
