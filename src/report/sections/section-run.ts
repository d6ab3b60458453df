import { basename, isAbsolute } from 'node:path';
import { redactSecrets } from '../../base/errors.ts';
import type { CostRecord } from '../../runs/store/records.ts';
import { html } from '../words/html.ts';
import { plainNumber, secondsText } from '../words/number-words.ts';
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

/** The cost of the run, stage by stage. */
export function costSection({ report }: PageContent): PageSection | undefined {
  const { controls } = report;
  const before = controls === undefined ? [] : [{ work: 'Harmless prompts', cost: controls.cost }];
  const ofStages = report.stages.flatMap(({ name, cost, evaluationCost, causes, repeatedCost }) => {
    const { label } = stageWords(name);
    return [
      { work: label, cost },
      { work: `Measuring ${label}`, cost: evaluationCost },
      ...(causes === undefined ? [] : [{ work: `Causes of ${label}`, cost: causes.cost }]),
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
    note: 'Tokens are those that attacker and target wrote together. Time is the clock’s, on the machine named under settings. Made again: what a stop discarded, and calls whose answers never came, as far as they are known.',
    body: html`${dataTable('Work done, by stage.', COLUMNS, [...rows, total])}`,
  };
}

/** Lists that may hold the words that the page masks: rules of judges and of scripted targets. */
const WORD_LISTS = new Set(['rules', 'otherwise', 'terms', 'seeds', 'examples']);
const MAX_VALUE_CHARACTERS = 600;

function valueText(value: unknown): string {
  // A path describes somebody's machine; the file's name is enough here.
  const text =
    typeof value === 'string' ? (isAbsolute(value) ? basename(value) : redactSecrets(value)) : JSON.stringify(value);
  return text.length > MAX_VALUE_CHARACTERS ? `${text.slice(0, MAX_VALUE_CHARACTERS)}…` : text;
}

/** Every value of a config by its dotted key. */
function flattenConfig(config: unknown, path = ''): (readonly [key: string, value: string])[] {
  if (Array.isArray(config)) {
    const key = path.split('.').at(-1) ?? '';
    if (WORD_LISTS.has(key)) return [[path, `${config.length} entries, in the run’s config.yaml`]];
    if (config.some((item) => typeof item === 'object'))
      return config.flatMap((item, i) => flattenConfig(item, `${path}.${i}`));
    return [[path, config.map(valueText).join(', ')]];
  }
  if (typeof config !== 'object' || config === null) return config === undefined ? [] : [[path, valueText(config)]];
  return Object.entries(config).flatMap(([key, value]) => flattenConfig(value, path === '' ? key : `${path}.${key}`));
}

/** Models with their hashes, the machine, and every setting. */
export function settingsSection({ report, manifest, config }: PageContent): PageSection {
  const models = report.run.models.map(({ role, spec, sha256 }) => [role, spec, html`<code>${sha256}</code>`]);
  const { platform, cpu, cores, memoryBytes } = manifest.machine;
  const facts = [
    ['Run', report.run.name],
    ['Begun', report.run.createdAt],
    ['Authorised by', report.run.authorisation],
    ['Seed', String(report.run.seed)],
    ['Machine', `${cpu}, ${cores} cores, ${plainNumber(memoryBytes / 2 ** 30)} GiB, ${platform}`],
    ['Threads', String(manifest.threads)],
    [
      'Devices',
      Object.entries(manifest.devices)
        .map(([role, device]) => `${role} ${device}`)
        .join(', '),
    ],
    [
      'Versions',
      Object.entries(manifest.versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
    ],
    ['Config sha256', html`<code>${report.run.configSha256}</code>`],
    ['Seeds sha256', html`<code>${manifest.seedsSha256}</code>`],
  ];
  const settings = flattenConfig(config).map(([key, value]) => [
    html`<code>${key}</code>`,
    html`<span class="setting">${value}</span>`,
  ]);
  return {
    id: 'settings',
    title: 'Settings',
    note: 'Equal hashes mean equal bytes: the same models, the same seeds, the same settings.',
    body: html`${dataTable('Models.', [{ heading: 'Part' }, { heading: 'Model' }, { heading: 'sha256 of the weights' }], models)}
${dataTable('The run.', [{ heading: 'Fact' }, { heading: 'Value' }], facts)}
<details><summary>Every setting</summary>${dataTable('The config, defaults filled in.', [{ heading: 'Key' }, { heading: 'Value' }], settings)}</details>`,
  };
}
