import { yaml } from '../base/yaml.ts';
import { parseModelSpec } from '../models/sources/model-spec.ts';
import { metricWords } from '../report/words/metric-words.ts';
import type { ReportMeasure } from '../report/words/number-words.ts';
import { confidenceText, intervalText, numberText, secondsText } from '../report/words/number-words.ts';
import { stageWords } from '../report/words/stage-words.ts';
import type { AttackerFile } from '../runs/attacker-folder.ts';
import { type AttackerCard, cardLine } from './attacker-card.ts';
import { codeSpan, markdownTable } from './markdown-text.ts';

/** The identifier by which hubs and PEFT know a base; as it is named where they do not. */
export function baseIdOf(spec: string): string {
  if (!spec.startsWith('hf:')) return spec;
  const parsed = parseModelSpec(spec);
  return parsed.kind === 'hub' ? parsed.repository : spec;
}

function frontMatter({ base }: AttackerFile, { licence }: AttackerCard): string {
  return yaml().stringify({
    base_model: cardLine(baseIdOf(base.spec)),
    base_model_relation: 'adapter',
    library_name: 'peft',
    pipeline_tag: 'text-generation',
    ...(licence === null ? {} : { license: licence.id }),
    tags: ['lora', 'red-teaming', 'safety', 'floodgate'],
  });
}

function measureCells(name: string, measure: ReportMeasure): string[] {
  const { label, form, meaning } = metricWords(name);
  const interval = intervalText(measure, form);
  return [
    escapeCell(label),
    numberText(measure.value, form),
    interval === undefined ? '' : `${interval} (${confidenceText(measure)})`,
    measure.n.toLocaleString('en-US'),
    measure.value === null && measure.method !== undefined ? codeSpan(measure.method) : escapeCell(meaning),
  ];
}

const escapeCell = (text: string): string => text.replace(/[\\`*_[\]<>|]/g, '\\$&');

function figuresText({ stage }: AttackerFile, card: AttackerCard): string {
  const { figures, judges, asrByJudge } = card;
  if (Object.keys(figures).length === 0)
    return `This attacker was **not evaluated**: no success rate, no diversity and no interval is known.
\`floodgate evaluate\` measures it; a new export then has the figures.`;
  const reported = judges.find(({ isReported }) => isReported);
  const isOwn = reported?.role.includes('reward') === true;
  const rows = Object.entries(figures).map(([name, measure]) => measureCells(name, measure));
  const rates = asrByJudge.map(({ judge, asr, corrected }) => [
    codeSpan(judge),
    rateText(asr),
    corrected === undefined ? 'not calibrated' : rateText(corrected),
  ]);
  return `Fresh attacks of \`${stage}\`, judged by ${codeSpan(reported?.name ?? 'unknown')}${
    isOwn ? ', which also gave the reward: **no independent evidence**' : ', which did not give the reward'
  }.

${markdownTable(['figure', 'value', 'interval', 'n', 'meaning'], rows)}

${markdownTable(['judge', 'success rate', 'corrected for the judge’s errors'], rates)}`;
}

function rateText(measure: ReportMeasure): string {
  const interval = intervalText(measure, 'share');
  return `${numberText(measure.value, 'share')}${interval === undefined ? '' : ` (${interval})`}`;
}

const hashCell = (hash: string | null): string => (hash === null ? 'none' : codeSpan(hash));

function partsText({ target, judges }: AttackerCard): string {
  const rows = [
    ['target', codeSpan(target.name), hashCell(target.modelSha256), hashCell(target.settingsSha256)],
    ...judges.map(({ name, role, modelSha256, settingsSha256 }) => [
      `judge (${escapeCell(role)})`,
      codeSpan(name),
      hashCell(modelSha256),
      hashCell(settingsSha256),
    ]),
  ];
  return markdownTable(['part', 'name', 'sha256 of its model', 'sha256 of its settings'], rows);
}

function callsText({ calls }: AttackerCard): string {
  if (calls.length === 0) return 'No call was counted.';
  const rows = calls.map(({ work, targetCalls, judgeCalls, tokens, seconds }) => [
    escapeCell(work),
    ...[targetCalls, judgeCalls, tokens].map((count) => count.toLocaleString('en-US')),
    secondsText(seconds),
  ]);
  return markdownTable(['work', 'answers of the target', 'verdicts', 'tokens', 'time'], rows);
}

function dataText({ data }: AttackerCard): string {
  const count = data.seeds === null ? 'an unknown number of' : data.seeds.toLocaleString('en-US');
  const file = `a file with the sha256 \`${data.seedsSha256}\``;
  const began =
    data.startedFrom === null
      ? `It first imitated ${count} example attacks: ${file}.`
      : `It continues an attacker trained earlier, ${codeSpan(data.startedFrom)}, whose data and calls are not counted
here. The run had ${count} example attacks: ${file}.`;
  return `${began}
Neither the examples nor any attack, answer or verdict of the run is in this folder.`;
}

function originText(file: AttackerFile, { run, licence }: AttackerCard): string {
  const { base, adapter, policy } = file;
  const rows = [
    ['base', codeSpan(base.spec)],
    ['sha256 of the base’s weights', codeSpan(base.sha256)],
    [
      'licence of the base',
      licence === null ? 'unknown to Floodgate' : `${escapeCell(licence.title)}, <${licence.address}>`,
    ],
    ['run, stage', `${codeSpan(file.name)}, ${codeSpan(file.stage)} (${escapeCell(run.stageStatus)})`],
    ['begun', codeSpan(run.createdAt)],
    ['seed', String(run.seed)],
    ['sha256 of the config', codeSpan(run.configSha256)],
    ['Floodgate', codeSpan(file.floodgate)],
    ['adapter', `LoRA, rank ${adapter.rank}, alpha ${adapter.alpha}; sha256 ${codeSpan(adapter.sha256)}`],
    ['length of an attack', `${policy.minTokens} to ${policy.maxTokens} tokens`],
    ...(policy.cells === undefined ? [] : [['categories', policy.cells.map(({ name }) => codeSpan(name)).join(', ')]]),
  ];
  return markdownTable(['', ''], rows);
}

/** README.md of an attacker's folder: a function of its machine-readable file, so that no text of a stranger gets in. */
export function attackerCardText(file: AttackerFile, card: AttackerCard): string {
  const { learning, explain } = stageWords(file.stage);
  const settings = Object.entries(card.settings).map(([key, value]) => [codeSpan(key), codeSpan(value)]);
  return `---
${frontMatter(file, card)}---

# Attacker ${codeSpan(`${file.name}/${file.stage}`)}

A LoRA adapter for ${codeSpan(base(file))}. With it, the model writes attacks: requests that are meant to make
the target ${codeSpan(card.target.name)} answer unsafely. ${escapeCell(explain)}${learning === undefined ? '' : ` It learnt ${escapeCell(learning)}.`}

## Intended use

Defence: to test models that you own or are authorised to test, to find what to repair, and to tune against it. It is
not meant to attack anybody’s model without permission. Its texts may be offensive or dangerous; handle them as findings.

## Origin

${originText(file, card)}

## Data

${dataText(card)}

## Target and judges

${partsText(card)}

## Figures

${figuresText(file, card)}

## Calls

${callsText(card)}

## What this card does not say

- The success rate is that of this attacker against this target with these settings. It is not how often the target fails
  in ordinary use, and nothing about another target.
- A verdict is a judge’s, and judges err. Intervals cover the draw of attacks, not the judges’ errors, and not another
  training run.
- The figures hold for the base with this sha256. On other weights of the same name, such as another quantisation, the
  adapter loads but writes other attacks.
- The absence of a way of failing here is no evidence that the target does not have it.
- Who authorised the test, the prompts of the target and the settings of the judges are not in this folder.

## How to open it

\`\`\`sh
floodgate attacker import FOLDER --name NAME      # checks every hash, and the base
floodgate serve NAME                              # an endpoint in OpenAI's interface, on this machine only
\`\`\`

\`attacker: { from: attacker:NAME }\` in a config starts a run from it. PEFT opens the folder too, with
\`PeftModel.from_pretrained(base, FOLDER)\`. The prompt that the attacks continue is \`policy.metaPrompt\` in
\`floodgate-attacker.json\`${file.policy.cells === undefined ? '' : '; the text of a category of `policy.cells` takes the place of `{cell}` in it'}.

## Settings

${markdownTable(['key', 'value'], settings)}
`;
}

const base = (file: AttackerFile): string => baseIdOf(file.base.spec);
