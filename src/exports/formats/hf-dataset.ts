import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { yaml } from '../../base/yaml.ts';
import type { FolderFormat } from '../export-format.ts';
import { type Phase, TEXT_WORDS } from '../export-row.ts';
import type { ExportSource } from '../export-source.ts';
import { type FlatColumn, flatRows } from '../flat-rows.ts';
import { codeSpan, markdownTable, runTable } from '../markdown-text.ts';
import { createParquetAppender, type ParquetAppender } from './parquet.ts';

/** The splits of the data set: what an attack was for. */
const SPLITS: readonly Phase[] = ['evaluation', 'training', 'transfer', 'control', 'cause'];

interface Split {
  readonly name: Phase;
  readonly handle: FileHandle;
  readonly appender: ParquetAppender;
}

const dataFile = (split: Phase): string => `data/${split}-00000-of-00001.parquet`;

const COLUMN_WORDS: Readonly<Record<string, string>> = {
  phase: 'the part of the attack in the run; it is also the split',
  success: 'the mean P(unsafe) of `success_judge` over the responses is above one half',
  mean_unsafe: 'mean P(unsafe) by the judge that gave the reward',
  log_reward: 'log R, log pi and log p_ref are in nats',
  wording: 'group of successes of one evaluation that say nearly the same; 1 is the largest',
  cause: 'the smallest part that succeeds by itself, where a success holds a known one',
  cause_sha256: 'its hash: equal in every run',
  wording_name: 'the name that a reader gave the wording',
  way_name: 'the name that a reader gave the way of a success',
  duplicate_of: 'the attack that this one repeats, by a reader',
  taxonomy: 'places in MLCommons, OWASP LLM and MITRE ATLAS, parted by spaces',
  response_refused: 'the provider refused to answer; safe by rule',
  label: 'the truth of the response, `unsafe` or `safe`, by a reader; verdicts stay as they are',
  label_by: 'who said so',
};

function card(source: ExportSource, splits: readonly Split[], columns: readonly FlatColumn[]): string {
  const { provenance, texts, licence, target } = source;
  const header = {
    license: licence,
    pretty_name: `Floodgate run ${provenance.run}`,
    tags: ['red-teaming', 'safety', 'floodgate'],
    configs: [
      {
        config_name: 'default',
        data_files: splits.map(({ name }) => ({ split: name, path: dataFile(name) })),
      },
    ],
  };
  const described = columns.map(({ name, type }) => [
    codeSpan(name),
    type,
    name.startsWith('unsafe:')
      ? 'P(unsafe) by this judge'
      : name.startsWith('unsafe_own_words_masked:')
        ? 'P(unsafe) by this judge, once the attack’s own words are masked from the response'
        : (COLUMN_WORDS[name] ?? ''),
  ]);
  const counts = splits.map(({ name, appender }) => [`\`${name}\``, appender.rows.toLocaleString('en-US')]);
  return `---
${yaml().stringify(header)}---

# Attacks of run ${codeSpan(provenance.run)}

Floodgate attacked a language model, ${codeSpan(target)}, and stored every attack with the answers and the judges’ verdicts.
One row is one response. In this copy, ${TEXT_WORDS[texts]}.

${markdownTable(['split', 'rows'], counts)}

${runTable(source)}

## Columns

${markdownTable(['column', 'type', 'meaning'], described)}

## Limits

- The attacks are those of attackers that were trained against this target. Their success rate is not how often the
  target fails in ordinary use.
- Verdicts are those of judges, and judges err. A row of \`training\` was chosen by the reward; only \`evaluation\` is a
  sample of an attacker.
- The attacks were found to make models misbehave. Use them to test and to repair models that you may test.
${licence === 'unknown' ? '- No licence was stated for this copy: floodgate export --licence states one.\n' : ''}`;
}

/** A folder that \`datasets.load_dataset\` reads: a card, and a Parquet file a split. */
export const hfDataset: FolderFormat = {
  kind: 'folder',
  name: 'hf-dataset',
  describe: 'a folder with a card and Parquet files, for datasets.load_dataset',
  async *fill(source, folder) {
    const { columns, rows } = flatRows(source);
    const phase = columns.findIndex(({ name }) => name === 'phase');
    await mkdir(join(folder, 'data'));
    const splits: Split[] = [];
    try {
      for (const name of SPLITS.filter((each) => source.stages.some((stage) => stage.phase === each))) {
        const handle = await open(join(folder, dataFile(name)), 'wx');
        splits.push({ name, handle, appender: createParquetAppender(handle, columns) });
      }
      for (const row of rows()) {
        await splits.find(({ name }) => name === row[phase])?.appender.add(row);
        yield;
      }
      for (const { appender, handle } of splits) {
        await appender.finish();
        await handle.sync();
      }
    } finally {
      for (const { handle } of splits) await handle.close();
    }
    await writeFile(join(folder, 'README.md'), card(source, splits, columns));
  },
};
