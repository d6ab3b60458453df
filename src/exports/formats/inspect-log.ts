import { sha256Of } from '../../base/canonical-json.ts';
import { printableJson } from '../../base/unprintable.ts';
import type { TextFormat } from '../export-format.ts';
import { type ExportedAttack, type ExportedResponse, type ExportedVerdict, TEXT_WORDS } from '../export-row.ts';
import type { ExportSource } from '../export-source.ts';

/** The version of inspect_ai's log that this is. */
const LOG_VERSION = 2;

const STATUS: Readonly<Record<string, string>> = { done: 'success', failed: 'error', running: 'started' };

/** As inspect_ai makes its ids: 22 letters and digits. The same export has the same. */
const idOf = (...parts: readonly string[]): string => sha256Of(parts.join('\0')).slice(0, 22);

const scoreName = ({ judge, ownWordsMasked }: Pick<ExportedVerdict, 'judge' | 'ownWordsMasked'>): string =>
  ownWordsMasked ? `${judge} (own words masked)` : judge;

/** A judge that could not score leaves no score: it is never read as safe. */
function scoresOf({ verdicts = [] }: Partial<ExportedResponse>): object {
  return Object.fromEntries(
    verdicts.flatMap((verdict) => {
      const { unsafe, categories, note } = verdict;
      if (unsafe === null) return [];
      return [
        [
          scoreName(verdict),
          { value: unsafe, ...(note === null ? {} : { explanation: note }), metadata: { categories } },
        ],
      ];
    }),
  );
}

function stopReason({ isRefused, isTruncated }: ExportedResponse): string {
  return isRefused ? 'content_filter' : isTruncated ? 'max_tokens' : 'stop';
}

/** One response as a sample: the attack is its id, the response its epoch. */
function sampleOf(attack: ExportedAttack, response: ExportedResponse | undefined): object {
  const { id, attack: text, responses: _, texts: __, ...metadata } = attack;
  const asked = { role: 'user', content: text ?? '' };
  const said = { role: 'assistant', content: response?.text ?? '', source: 'generate', model: attack.target };
  return {
    id,
    epoch: (response?.position ?? 0) + 1,
    input: text ?? '',
    target: '',
    messages: response === undefined ? [asked] : [asked, said],
    output:
      response === undefined
        ? { model: attack.target, choices: [], completion: '' }
        : {
            model: attack.target,
            choices: [{ message: said, stop_reason: stopReason(response) }],
            completion: response.text ?? '',
          },
    scores: scoresOf(response ?? {}),
    metadata: { ...metadata, responseLabels: response?.labels ?? [] },
  };
}

function* samplesOf(source: ExportSource): Generator<object> {
  const evaluations = source.stages.filter(({ phase }) => phase === 'evaluation');
  for (const attack of source.attacks(evaluations)) {
    const { responses } = attack;
    for (const response of responses.length === 0 ? [undefined] : responses) yield sampleOf(attack, response);
  }
}

/** Success rates by judge, one metric an attacker. */
function resultsOf({ report }: ExportSource, samples: number): object {
  const judges = new Map<string, Record<string, object>>();
  for (const { name, judges: measured } of report.stages) {
    for (const { name: judge, metrics } of measured) {
      const { asr } = metrics;
      if (typeof asr?.value !== 'number') continue;
      const { value, low, high, n } = asr;
      const metric = { name: `asr ${name}`, value, metadata: { low, high, attacks: n } };
      judges.set(judge, { ...judges.get(judge), [`asr ${name}`]: metric });
    }
  }
  return {
    total_samples: samples,
    completed_samples: samples,
    scores: [...judges].map(([judge, metrics]) => ({ name: judge, scorer: judge, metrics })),
  };
}

function headOf(source: ExportSource, samples: number): object {
  const { provenance, report, config, target, texts } = source;
  const { run, configSha256, createdAt } = provenance;
  const created = createdAt.replace(/(?:\.\d+)?Z$/, '+00:00');
  return {
    version: LOG_VERSION,
    status: STATUS[report.run.status] ?? 'cancelled',
    eval: {
      eval_id: idOf('eval', run, configSha256),
      run_id: idOf('run', run, configSha256),
      created,
      task: 'floodgate',
      task_id: idOf('task', configSha256),
      task_display_name: `floodgate ${run}`,
      dataset: {
        name: run,
        samples: source.stages.reduce((sum, { phase, attacks }) => sum + (phase === 'evaluation' ? attacks : 0), 0),
      },
      model: target,
      config: { epochs: config.evaluation.responses },
      packages: { floodgate: provenance.floodgate },
      metadata: { ...provenance, textsInWords: TEXT_WORDS[texts] },
    },
    plan: { name: 'floodgate', steps: report.stages.map(({ name }) => ({ solver: name, params: {} })), config: {} },
    results: resultsOf(source, samples),
    stats: { started_at: created, completed_at: '' },
  };
}

/** A log of inspect_ai: the evaluations of a run, a response a sample. */
export const inspectLog: TextFormat = {
  kind: 'text',
  name: 'inspect-log',
  describe: 'a log for inspect view: the evaluations alone, a response a sample',
  *pieces(source) {
    let samples = 0;
    for (const _ of samplesOf(source)) samples++;
    const head = JSON.stringify(headOf(source, samples));
    yield `${printableJson(head.slice(0, -1))},"samples":[`;
    let isFirst = true;
    for (const sample of samplesOf(source)) {
      yield `${isFirst ? '\n' : ',\n'}${printableJson(JSON.stringify(sample))}`;
      isFirst = false;
    }
    yield '\n]}\n';
  },
};
