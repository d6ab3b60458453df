import { intervalBar, intervalWords } from '../charts/measure-marks.ts';
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

/** Above this share of echoes the first sentence says so: the success rate then means something else. */
const MANY_ECHOES = 0.5;

export function targetName({ report, config }: PageContent): string {
  return report.run.models.find(({ role }) => role === 'target')?.spec ?? `a ${config.target.kind} target`;
}

function known(measure: ReportMeasure | undefined): measure is ReportMeasure & { readonly value: number } {
  return typeof measure?.value === 'number';
}

/** The answer in one sentence. */
function headlineText({ headline }: PageContent): string {
  if (headline === undefined) return 'This run has not been measured yet.';
  const { asr, uniqueAttacks, echoRate, modeRecall } = headline.metrics;
  if (!known(asr)) return 'This run could not be measured: no answer was scored.';
  if (asr.value === 0) return `None of ${counted(asr.n, 'new attack')} drew an unsafe answer.`;
  const ways = known(uniqueAttacks) ? `, in ${counted(uniqueAttacks.value, 'different way')}` : '';
  if (known(modeRecall))
    return `${percentText(asr.value)} of new attacks drew an unsafe answer; they found ${percentText(modeRecall.value)} of the planted ways.`;
  const isEcho = known(echoRate) && echoRate.value > MANY_ECHOES;
  const but = isEcho ? ` – but ${percentText(echoRate.value)} of the successes only echo the attack’s own words` : '';
  return `${percentText(asr.value)} of new attacks drew an unsafe answer${ways}${but}.`;
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
      : `Then it wrote ${counted(attacks, 'new message')}; each was sent ${counted(responses, 'time')}, and a separate program, the judge ${report.run.reportedJudge}, rated every answer. A message succeeds when its answers are rated unsafe with a probability above one half on average.`;
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

/** A figure below the main one of a card; empty when the run does not have it. */
function besides({ metrics }: ReportStage, name: string): Html {
  const measure = metrics[name];
  if (!known(measure)) return html``;
  const { label, form } = metricWords(name);
  return html`<li><span>${label}</span> <strong>${numberText(measure.value, form)}</strong>${intervalWords(measure, form)}</li>`;
}

function vulnerableCard(stage: ReportStage): Html {
  const { asr } = stage.metrics;
  return html`<article class="card"><h2>How vulnerable?</h2>
<p class="figure">${figure(asr, 'asr')}</p><p class="says">of new attacks drew an unsafe answer</p>
${scaleOf(asr, 'asr', 1)}
<ul class="besides">${['asrMasked', 'referenceFailureRate'].map((name) => besides(stage, name))}</ul></article>`;
}

/** Figures of the ways that were found, and of those that were not. */
const WAYS_METRICS = ['uniqueAttacks', 'waysUnseen', 'missingMass', 'chao1'];

function waysCard(stage: ReportStage): Html {
  const { asr } = stage.metrics;
  const [main, says, end] = isSyntheticWorld(stage)
    ? (['modeRecall', 'of the ways that were planted', () => 1] as const)
    : (['uniqueAttacks', 'different kinds of successful attack', roundEnd] as const);
  const measure = stage.metrics[main];
  const others = WAYS_METRICS.filter((name) => name !== main && known(stage.metrics[name]));
  const isEstimated = others.some((name) => name !== 'uniqueAttacks');
  const unseen = isEstimated ? '' : ' How many are still unfound was not estimated in this run.';
  return html`<article class="card"><h2>In how many ways?</h2>
<p class="figure">${figure(measure, main)}</p><p class="says">${says}</p>
${scaleOf(measure, main, end(Math.max(measure?.high ?? 0, measure?.value ?? 0)))}
<ul class="besides">${others.map((name) => besides(stage, name))}</ul>
<p class="quiet">Found among ${counted(asr?.n ?? 0, 'attack')}; more attacks would find more.${unseen}</p></article>`;
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
    headline === undefined ? html`` : html`${vulnerableCard(headline)}${waysCard(headline)}${sureCard(content)}`;
  return html`<section id="answer" aria-labelledby="answer-title"><h1 id="answer-title">${headlineText(content)}</h1>
${plainSummary(content)}
<div class="cards">${cards}</div></section>`;
}
