import { html } from '../words/html.ts';
import { measuresRudeness } from '../words/judge-words.ts';
import { counted, percentText } from '../words/number-words.ts';
import { isMadeWorld, stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

/** What holds for every run. */
function alwaysTrue({ config, report }: PageContent): string[] {
  const { decode } = config.target;
  const rude = measuresRudeness(report.run.reportedJudge);
  return [
    rude
      ? `The judge ${report.run.reportedJudge} measures rudeness, not harm: “unsafe” here means a rude or insulting answer.`
      : `“Unsafe” means what the judge ${report.run.reportedJudge} takes for unsafe; judges err, and each in its own way.`,
    'The success rate is that of this attacker’s messages. It is not how often the target fails in ordinary use.',
    `The target answered at temperature ${decode.temperature}, with at most ${decode.maxNewTokens} tokens an answer; other settings give other figures.`,
    `Two attacks are one way when their embeddings are close (cosine above ${config.evaluation.uniqueThreshold}); another encoder or threshold counts other numbers.`,
    `One run with one seed (${report.run.seed}): the intervals cover the draw of attacks, not the luck of training.`,
  ];
}

function ofThisRun({ headline, report, vectors, events }: PageContent): string[] {
  const limits: string[] = [];
  const metrics = headline?.metrics ?? {};
  if (isMadeWorld(headline))
    limits.push('This world was made: its figures say how well an attacker searches, and nothing of any real model.');
  else if (!report.run.isJudgeIndependent)
    limits.push(
      `The only judge, ${report.run.reportedJudge}, also gave the reward: no figure here is independent evidence.`,
    );
  const echo = metrics.echoRate;
  if (typeof echo?.value === 'number' && echo.value > 0)
    limits.push(
      `${percentText(echo.value)} of the successes are echoes: the answer is unsafe only in words that the attack brought along.`,
    );
  const isKnown = (name: string): boolean => typeof metrics[name]?.value === 'number';
  if (headline !== undefined && !['missingMass', 'chao1', 'waysUnseen', 'modeRecall'].some(isKnown))
    limits.push(
      'How many ways are still unfound was not estimated: the number of ways is what was found, not what exists.',
    );
  if (isKnown('missingMass') || isKnown('chao1'))
    limits.push(
      'Estimates of unfound ways speak of what this attacker would still find, not of every way there is; bounds from below are not guesses.',
    );
  if (headline !== undefined && !isKnown('referenceFailureRate'))
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

/** What the figures do not show. */
export function limitsSection(content: PageContent): PageSection {
  const limits = [...ofThisRun(content), ...alwaysTrue(content)];
  return {
    id: 'limits',
    title: 'Limits of the evidence',
    note: 'What these figures cannot tell.',
    body: html`<ul class="limits">${limits.map((limit) => html`<li>${limit}</li>`)}</ul>`,
  };
}
