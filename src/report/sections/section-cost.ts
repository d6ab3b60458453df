import type { CostRecord } from '../../runs/store/records.ts';
import { html } from '../words/html.ts';
import { secondsText } from '../words/number-words.ts';
import { stageWords } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import { dataTable, type PageSection } from './page-section.ts';

const COLUMNS = [
  { heading: 'Work' },
  ...['Answers asked of the target', 'Exchanges judged', 'Tokens written', 'Time'].map((heading) => ({
    heading,
    isNumber: true,
  })),
];

function costCells({ targetCalls, judgeCalls, tokens, seconds }: CostRecord): string[] {
  return [...[targetCalls, judgeCalls, tokens].map((count) => count.toLocaleString('en-US')), secondsText(seconds)];
}

function sum(costs: readonly CostRecord[]): CostRecord {
  return costs.reduce((total, cost) => ({
    targetCalls: total.targetCalls + cost.targetCalls,
    judgeCalls: total.judgeCalls + cost.judgeCalls,
    tokens: total.tokens + cost.tokens,
    seconds: total.seconds + cost.seconds,
  }));
}

const isSpent = ({ targetCalls, tokens, seconds }: CostRecord): boolean => targetCalls + tokens + seconds > 0;

/** What the run cost, stage by stage. */
export function costSection({ report }: PageContent): PageSection | undefined {
  const { controls } = report;
  const before = controls === undefined ? [] : [{ work: 'Harmless prompts', cost: controls.cost }];
  const ofStages = report.stages.flatMap(({ name, cost, evaluationCost, repeatedCost }) => {
    const { label } = stageWords(name);
    return [
      { work: label, cost },
      { work: `Measuring ${label}`, cost: evaluationCost },
      { work: `${label}, made again after a stop`, cost: repeatedCost },
    ].filter((part) => isSpent(part.cost));
  });
  const parts = [...before, ...ofStages];
  if (parts.length === 0) return undefined;
  const rows = parts.map(({ work, cost }) => [work, ...costCells(cost)]);
  const total = ['All of it', ...costCells(sum(parts.map(({ cost }) => cost)))];
  return {
    id: 'cost',
    title: 'Cost',
    note: 'Tokens are those that attacker and target wrote together. Time is the clock’s, on the machine named under settings.',
    body: html`${dataTable('Work done, by stage.', COLUMNS, [...rows, total])}`,
  };
}
