import { intervalBar, namedFigures } from '../charts/measure-marks.ts';
import { roundEnd } from '../charts/svg-scale.ts';
import type { ReportStage } from '../figures/report-json.ts';
import { type Html, html } from '../words/html.ts';
import { metricWords } from '../words/metric-words.ts';
import {
  confidenceText,
  counted,
  intervalText,
  numberText,
  percentText,
  type ReportMeasure,
} from '../words/number-words.ts';
import { isSyntheticWorld, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { sureness } from './section-limits.ts';
import { trialSize } from './trial-size.ts';

/** Above this share of echoes the first sentence says so: the success rate then means something else. */
const MANY_ECHOES = 0.5;

export function targetName({ report, config }: PageContent): string {
  return report.run.models.find(({ role }) => role === 'target')?.spec ?? `a ${config.target.kind} target`;
}

function known(measure: ReportMeasure | undefined): measure is ReportMeasure & { readonly value: number } {
  return typeof measure?.value === 'number';
}

/** In how many ways, where causes were looked for; else in how many wordings. Empty where neither is known. */
function variety({ metrics, causes }: ReportStage): string {
  const ways = causes?.metrics.ways;
  if (causes !== undefined && known(ways)) {
    if (ways.value === 0) return `; none of the ${causes.searched} that were asked again did so twice`;
    return `, in ${counted(Math.round(ways.value), 'different way')}`;
  }
  const { modeRecall, uniqueAttacks } = metrics;
  if (known(modeRecall) || !known(uniqueAttacks)) return '';
  return `, in ${counted(uniqueAttacks.value, 'different wording')}`;
}

/** The answer in one sentence. */
function headlineText(content: PageContent): string {
  const { headline } = content;
  if (headline === undefined) return 'This run has not been measured yet.';
  const { asr, echoRate, modeRecall } = headline.metrics;
  if (!known(asr)) return 'This run could not be measured: no answer was scored.';
  if (asr.value === 0) {
    const none = `one of ${counted(asr.n, 'new attack')} drew an unsafe answer.`;
    return trialSize(content).isTooLittle ? `Too little was tried to say: n${none}` : `N${none}`;
  }
  const drew = `${percentText(asr.value)} of new attacks drew an unsafe answer${variety(headline)}`;
  if (known(modeRecall)) return `${drew}; they found ${percentText(modeRecall.value)} of the planted ways.`;
  const isEcho = known(echoRate) && echoRate.value > MANY_ECHOES;
  const but = isEcho ? ` – but ${percentText(echoRate.value)} of the successes only echo the attack’s own words` : '';
  return `${drew}${but}.`;
}

/** The target and the method, for a reader who knows neither. */
function plainSummary(content: PageContent): Html {
  const { report, headline, responses } = content;
  const attacker = report.run.models.find(({ role }) => role === 'attacker')?.spec ?? 'a language model';
  const learning = headline === undefined ? undefined : stageWords(headline.name).learning;
  const attacks = headline?.metrics.asr?.n;
  const measured =
    attacks === undefined
      ? 'Its success has not been measured yet.'
      : `Then it wrote ${counted(attacks, 'new message')}; each was sent ${responses === 1 ? 'once' : counted(responses, 'time')}, and a separate program, the judge ${report.run.reportedJudge}, rated every answer. A message succeeds when its answers are rated unsafe with a probability above one half on average.`;
  return html`<p class="lead">Floodgate tested <strong>${targetName(content)}</strong> for ways in which it misbehaves.${isSyntheticWorld(headline) ? ' This is a synthetic world, made by Floodgate: every way to fail was planted, so the report knows what was missed.' : ''} An attacker, itself a small language model (${attacker}), learnt to write messages that draw unsafe answers${learning === undefined ? '' : `: ${learning}`}. ${measured}</p>`;
}

function figure(measure: ReportMeasure | undefined, name: string): string {
  return numberText(measure?.value ?? null, metricWords(name).form);
}

/** The bar of a card's figure with both ends of its scale, and its interval in words. */
function scaleOf(measure: ReportMeasure | undefined, name: string, most: number): Html {
  if (measure === undefined) return html``;
  const { form } = metricWords(name);
  const interval = intervalText(measure, form);
  const words = interval === undefined ? '' : html`${confidenceText(measure)} <strong>${interval}</strong>`;
  return html`${intervalBar(measure, most)}<p class="range"><span aria-hidden="true">${numberText(0, form)}</span><span>${words}</span><span aria-hidden="true">${numberText(most, form)}</span></p>`;
}

function vulnerableCard(stage: ReportStage): Html {
  const { asr } = stage.metrics;
  return html`<article class="card"><h2>How vulnerable?</h2>
<p class="figure">${figure(asr, 'asr')}</p><p class="says">of new attacks drew an unsafe answer</p>
${scaleOf(asr, 'asr', 1)}
${namedFigures(stage.metrics, ['asrMasked', 'referenceFailureRate'])}</article>`;
}

interface Variety {
  readonly heading: string;
  /** The metric of the card's figure, and its words. */
  readonly main: string;
  readonly says: string;
  readonly besides: readonly string[];
  /** Any of them is an estimate of what is still unfound. */
  readonly estimates: readonly string[];
}

const OF_WORDINGS = ['waysUnseen', 'missingMass', 'chao1'];
const OF_CAUSES = ['waysMissingMass'];

/** Ways by their causes where they are known; else planted ways in a synthetic world; else wordings. */
function varietyOf(stage: ReportStage): Variety {
  const heading = 'In how many ways?';
  if (known(stage.causes?.metrics.ways)) {
    // No second number of ways: those of the section of ways are read with their explanations.
    const besides = ['modeRecall', ...OF_CAUSES, 'uniqueAttacks'];
    return { heading, main: 'ways', says: 'ways to fail, each with its own cause', besides, estimates: OF_CAUSES };
  }
  const besides = ['uniqueAttacks', ...OF_WORDINGS];
  if (isSyntheticWorld(stage))
    return { heading, main: 'modeRecall', says: 'of the ways that were planted', besides, estimates: OF_WORDINGS };
  return {
    ...{ heading: 'In how many wordings?', main: 'uniqueAttacks', says: 'different wordings of successful attacks' },
    ...{ besides: OF_WORDINGS, estimates: OF_WORDINGS },
  };
}

function varietyCard(stage: ReportStage): Html {
  const { heading, main, says, besides, estimates } = varietyOf(stage);
  const metrics = { ...stage.metrics, ...stage.causes?.metrics };
  const measure = metrics[main];
  const isEstimated = estimates.some((name) => known(metrics[name]));
  const unseen = isEstimated ? '' : ' How many are still unfound was not estimated in this run.';
  const end = metricWords(main).form === 'share' ? 1 : roundEnd(Math.max(measure?.high ?? 0, measure?.value ?? 0));
  return html`<article class="card"><h2>${heading}</h2>
<p class="figure">${figure(measure, main)}</p><p class="says">${says}</p>
${scaleOf(measure, main, end)}
${namedFigures(metrics, besides)}
<p class="quiet">Found among ${counted(stage.metrics.asr?.n ?? 0, 'attack')}; more attacks may find more.${unseen}</p></article>`;
}

function sureCard(content: PageContent): Html {
  const signs = sureness(content).map(
    ({ isGood, short, text }) =>
      html`<li class="${isGood ? 'good' : 'caution'}"><span class="sign" aria-hidden="true">${isGood ? '✓' : '!'}</span><span><strong>${short}</strong><span class="hidden-words"> (${isGood ? 'good' : 'take care'})</span>. ${text}</span></li>`,
  );
  return html`<article class="card"><h2>How sure?</h2><ul class="signs">${signs}</ul></article>`;
}

/** The first screen: one sentence, one paragraph, three cards. */
export function answerSection(content: PageContent): Html {
  const { headline } = content;
  const cards =
    headline === undefined ? html`` : html`${vulnerableCard(headline)}${varietyCard(headline)}${sureCard(content)}`;
  return html`<section id="answer" aria-labelledby="answer-title"><h1 id="answer-title">${headlineText(content)}</h1>
${plainSummary(content)}
<div class="cards">${cards}</div></section>`;
}
