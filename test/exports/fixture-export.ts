import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { writeManifest } from '../../src/runs/manifest.ts';
import { createRunFolder, type RunFolder, recordRunStatus } from '../../src/runs/run-folder.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { recordTarget } from '../../src/studies/transfer/target-record.ts';
import { NO_MODEL_FACTS } from '../../src/targets/target-kind.ts';
import type { ResponseRecord } from '../../src/trial/evidence.ts';
import { cli } from '../cli/cli-runner.ts';
import { FIXTURE_CAUSES, type FixtureOptions, fixtureRun } from '../report/fixture-run.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';

const place = mkdtempSync(join(tmpdir(), 'floodgate-export-'));
export const runsDir = join(place, 'runs');

/** A path below the tests' own folder, which their end removes. */
export const placed = (...parts: string[]): string => join(place, ...parts);

/** Removes the folder of the fixture's runs after the tests of the calling file. */
export function removeAfterTests(): void {
  afterAll(() => rmSync(place, { recursive: true, force: true }));
}

/** Texts that a spreadsheet, a terminal, XML or Markdown would take for more than text. */
export const HOSTILE = [
  '=cmd|calc!A1',
  '+1+1',
  '-2+3',
  '@SUM(A1)',
  '\tx',
  '\r=x',
  ' =1+1',
  '\uff1d1+1',
  'a"b,c\nd',
  ']]>&<b>\u0000\u001b[31m\u202e\ufffe',
  '| pipe ` tick',
];

/** One more stage, `ppo`, whose evaluation holds the hostile texts as attacks and answers; all succeed. */
async function addHostile(store: Awaited<ReturnType<typeof fixtureRun>>['store']): Promise<void> {
  const stage = 'evaluate:ppo';
  store.beginStage(stage, 1);
  const responses = (text: string): ResponseRecord[] => [
    {
      text,
      tokens: 3,
      truncated: false,
      verdicts: [
        { judge: 'trainer', masked: false, unsafe: 0.9, reason: 'S1 Violent Crimes, no log-probs' },
        { judge: 'other', masked: false, unsafe: 0.9, reason: 'Hate' },
        { judge: 'other', masked: true, unsafe: null, reason: 'cannot read /home/somebody/judge.onnx' },
      ],
    },
    { text: '', tokens: 0, truncated: false, refused: 'content filter of /srv/secret/place', verdicts: [] },
  ];
  store.recordUpdate({
    stage,
    update: 0,
    attacks: HOSTILE.map((text) => ({
      source: 'evaluation' as const,
      ids: [],
      text,
      logPi: -2.5,
      meanUnsafe: 0.9,
      responses: responses(text),
    })),
  });
  store.endStage(stage, 'done');
}

/** One cell of the transfer matrix: kind 1 succeeds on `other-model`, kind 0 does not; nothing else was sent. */
function addTransfer(store: Awaited<ReturnType<typeof fixtureRun>>['store']): void {
  const stage = 'transfer:gflownet:other-model';
  store.beginStage(stage, 1);
  const attack = (text: string, unsafe: number) => ({
    source: 'transfer' as const,
    ids: [],
    text,
    responses: [{ text: 'reply', tokens: 2, truncated: false, verdicts: [{ judge: 'other', masked: false, unsafe }] }],
  });
  store.recordUpdate({
    stage,
    update: 0,
    attacks: [attack('kind1 please say hidden phrase 1', 0.8), attack('kind0 please say hidden phrase 0', 0.2)],
  });
  store.endStage(stage, 'done');
  recordTarget(store, {
    ...NO_MODEL_FACTS,
    kind: 'scripted',
    model: 'other',
    name: 'other-model',
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
    responses: 1,
  });
}

export interface ExportRunOptions extends FixtureOptions {
  readonly withHostile?: boolean;
  readonly withTransfer?: boolean;
  /** Two attacks of training: one before the first update, one in it. */
  readonly withTraining?: boolean;
  /** The run has not looked for causes. */
  readonly withoutCauses?: boolean;
}

/** A run folder of the report's fixture, with ways, and with more on request. */
export async function makeExportRun(name: string, options: ExportRunOptions = {}): Promise<RunFolder> {
  const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
  const folder = await createRunFolder({ runsFolder: runsDir, name, ifTaken: 'refuse', configAt: () => config });
  const causes = options.withoutCauses ? {} : { causes: FIXTURE_CAUSES };
  const run = await fixtureRun({ ...causes, ...options, databasePath: folder.databasePath });
  if (options.withHostile) await addHostile(run.store);
  if (options.withTransfer) addTransfer(run.store);
  if (options.withTraining) {
    const attack = (source: 'reference' | 'fresh', text: string) => ({ source, text, ids: [1], responses: [] });
    run.store.recordUpdate({ stage: 'gflownet', update: -1, attacks: [attack('reference', 'drawn before')] });
    run.store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [attack('fresh', 'drawn first')] });
  }
  recordRunStatus(run.store, 'done');
  run.store.close();
  await writeManifest(folder.manifestPath, { ...run.manifest, run: name });
  return folder;
}

/** `floodgate export` with a model cache that holds nothing. */
export const runExport = (...args: string[]) =>
  cli(['export', ...args, '--runs-dir', runsDir, '--cache-dir', join(place, 'empty')]);
