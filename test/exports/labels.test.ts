import { readFileSync } from 'node:fs';
import { parse } from 'csv-parse/sync';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ExportedAttack } from '../../src/exports/export-row.ts';
import { labelRun } from '../../src/runs/labelled-run.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { causeSha256 } from '../../src/stages/evaluation/causes-record.ts';
import { makeExportRun, placed, removeAfterTests, runExport } from './fixture-export.ts';

removeAfterTests();

const CAUSE = 'say hidden phrase';
let folder: RunFolder;
beforeAll(async () => {
  folder = await makeExportRun('one', { withTransfer: true });
  // The evaluation of gflownet holds attacks 21 to 60: attack 21 + i is number i of the fixture.
  labelRun(
    folder,
    [
      { kind: 'verdict', attack: 22, response: 0, value: 'safe', note: 'quotes reply one' },
      { kind: 'verdict', attack: 22, response: 1, value: 'safe' },
      { kind: 'verdict', attack: 22, response: 1, value: 'unsafe', judge: 'other' },
      { kind: 'verdict', attack: 23, response: 0, value: 'unsafe' },
      { kind: 'verdict', attack: 23, response: 0, value: null },
      { kind: 'duplicate', attack: 27, value: 22 },
      { kind: 'duplicate', attack: 32, value: 27, note: 'another kind1' },
      { kind: 'wording', attack: 24, value: 'asks politely' },
      { kind: 'way', subject: causeSha256(CAUSE), value: 'asks for the phrase, see /srv/secret/place' },
    ],
    'ada',
  );
});

async function text(format: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runExport('one', '--format', format, ...args);
  expect(code, stderr).toBe(0);
  return stdout;
}
async function jsonl(...args: string[]): Promise<ExportedAttack[]> {
  const lines = (await text('jsonl', ...args)).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as ExportedAttack);
}

describe('labels in an export', () => {
  it('are in each row beside the verdicts, which stay as they are', async () => {
    const rows = await jsonl('--show-attacks');
    const at = (id: number) => rows.find((row) => row.id === id) as ExportedAttack;
    const [first, second] = at(22).responses;
    expect(first).toMatchObject({
      label: 'safe',
      labels: [{ kind: 'verdict', value: 'safe', judge: null, who: 'ada', note: 'quotes reply one' }],
    });
    expect(first?.labels[0]?.at).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    expect(first?.verdicts.map(({ unsafe }) => unsafe)).toEqual([0.9, 0.9, 0.9, 0.9]);
    // `other` is the judge of the figures: its own label comes first.
    expect(second).toMatchObject({ label: 'unsafe', labels: [{ value: 'safe' }, { value: 'unsafe', judge: 'other' }] });
    expect(at(22).isSuccess).toBe(true);
    expect(at(23).responses[0]).toMatchObject({ label: null, labels: [] });
    expect(at(27).duplicateOf).toBe(22);
    expect(at(32)).toMatchObject({
      duplicateOf: 22,
      labels: [{ kind: 'duplicate', value: 27, note: 'another kind1' }],
    });
    expect(at(24).wordingName).toBe('asks politely');
    expect(at(22).wayName).toBe('asks for the phrase, see place');
    // A way is that of a success.
    expect(at(25).wayName).toBeNull();
    expect(at(23).wordingName).toBeNull();
  });

  it('hold for the same texts in every stage, and stay without the run that they were given in', async () => {
    const rows = await jsonl();
    const twins = rows.filter(({ responses }) => responses[0]?.label === 'safe');
    expect(twins.map(({ stage, id }) => [stage, id])).toEqual([
      ['sft', 2],
      ['gflownet', 22],
    ]);
    expect(rows.filter(({ duplicateOf }) => duplicateOf !== null).map(({ id }) => id)).toEqual([7, 12, 27, 32]);
  });

  it('have their notes masked like every text', async () => {
    const masked = await text('jsonl');
    expect(masked).toContain('"note":"[masked: 3 words]"');
    expect(masked).not.toMatch(/quotes|another kind1/);
    expect(await text('jsonl', '--without-texts')).not.toMatch(/masked:|quotes/);
  });

  it('are columns of a table, which comes back as labels', async () => {
    const rows = parse(await text('csv', '--show-attacks'), { columns: true, bom: true }) as Record<string, string>[];
    const at = (id: number, position: number) =>
      rows.find((row) => row.attack_id === String(id) && row.response_position === String(position));
    expect(at(22, 0)).toMatchObject({ label: 'safe', label_by: 'ada', label_note: 'quotes reply one' });
    expect(at(22, 1)).toMatchObject({ label: 'unsafe', label_by: 'ada', label_note: '' });
    expect(at(23, 0)).toMatchObject({ label: '', label_by: '', duplicate_of: '', wording_name: '' });
    expect(at(32, 0)).toMatchObject({ duplicate_of: '22', way_name: 'asks for the phrase, see place' });
    expect(at(24, 1)).toMatchObject({ wording_name: 'asks politely' });
    const out = placed('one.parquet');
    await runExport('one', '--format', 'parquet', '--out', out);
    const read = await parquetReadObjects({ file: await asyncBufferFromFile(out) });
    expect(read.filter(({ label }) => label !== null)).toHaveLength(4);
    expect(read.find(({ attack_id }) => attack_id === 27n)).toMatchObject({ duplicate_of: 22n, label: null });
  });

  it('name ways in the formats that list them, and columns in the card of a data set', async () => {
    expect(await text('markdown')).toMatch(/^\| 1 `asks for the phrase, see place` \|/m);
    expect(await text('sarif')).toContain('Name by a reader: asks for the phrase, see place');
    expect(await text('junit')).toContain('Name by a reader: asks for the phrase, see place');
    const out = placed('data');
    await runExport('one', '--format', 'hf-dataset', '--out', out);
    expect(readFileSync(placed('data', 'README.md'), 'utf8')).toMatch(/`duplicate_of` \| count \| the attack that/);
    const log = JSON.parse(await text('inspect-log'));
    const sample = log.samples.find(({ id, epoch }: { id: number; epoch: number }) => id === 22 && epoch === 1);
    expect(sample.metadata.responseLabels).toMatchObject([{ value: 'safe', who: 'ada' }]);
  });
});
