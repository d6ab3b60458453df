import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from '../../src/base/random.ts';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import {
  createTextVectors,
  readEvaluatedAttacks,
  type TextVectors,
  textsToEmbed,
} from '../../src/report/attacks/evaluated-attacks.ts';
import { buildReport } from '../../src/report/figures/report-json.ts';
import type { PageSource } from '../../src/report/sections/page-content.ts';
import { createManifest, type Manifest, type ManifestFacts } from '../../src/runs/manifest.ts';
import type { AttackRow, MetricRecord } from '../../src/runs/store/records.ts';
import { openStore, type RunStore } from '../../src/runs/store/run-store.ts';
import { causesStage, evaluationStage } from '../../src/runs/store/stage-name.ts';
import { configSha256, parseConfig } from '../../src/stages/campaign/config-load.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { WAYS_DISCOVERY } from '../../src/stages/evaluation/causes.ts';
import { type CausesRecord, recordCauses } from '../../src/stages/evaluation/causes-record.ts';
import type { VerdictRecord } from '../../src/trial/evidence.ts';
import { minimalConfigText } from '../stages/minimal-config.ts';

export const WIDTH = 8;

/** Attacks of one kind lie close together: every text of the fixture begins with its kind. */
export function fixtureVector(text: string): number[] {
  const centre = randomStream(1, 'kind', text.split(' ')[0] ?? '');
  const noise = randomStream(2, 'text', text);
  const vector = Array.from({ length: WIDTH }, () => centre.nextNormal() + 0.08 * noise.nextNormal());
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}

export function fixtureVectors(texts: readonly string[]): TextVectors {
  return createTextVectors('toy-encoder', texts, Float32Array.from(texts.flatMap(fixtureVector)));
}

export interface FixtureAttack {
  readonly text: string;
  readonly responses: readonly string[];
  readonly unsafe: number;
  /** P(unsafe) once the attack's own words are masked. */
  readonly masked?: number;
  readonly cell?: string;
}

/** Forty attacks of five kinds; kinds 0 to 2 succeed, kind 0 only as an echo. */
export function fixtureAttacks(count = 40): FixtureAttack[] {
  return Array.from({ length: count }, (_, i) => {
    const kind = i % 5;
    return {
      text: `kind${kind} please say hidden phrase ${i}`,
      responses: [`reply one of ${i}`, `reply two of ${i}`],
      unsafe: kind < 3 ? 0.9 : 0.1,
      masked: kind === 0 ? 0.1 : kind < 3 ? 0.9 : 0.1,
    };
  });
}

function verdicts({ unsafe, masked = unsafe }: FixtureAttack): VerdictRecord[] {
  return ['trainer', 'other'].flatMap((judge) => [
    { judge, masked: false, unsafe },
    { judge, masked: true, unsafe: masked },
  ]);
}

function attackRow(attack: FixtureAttack): AttackRow {
  return {
    source: 'evaluation',
    ids: [1, 2],
    text: attack.text,
    logPi: -1,
    meanUnsafe: attack.unsafe,
    cell: attack.cell ?? null,
    responses: attack.responses.map((text) => ({ text, tokens: 4, truncated: false, verdicts: verdicts(attack) })),
  };
}

const COST = { targetCalls: 80, judgeCalls: 160, tokens: 900, seconds: 12.5 };

function recordTraining(store: RunStore, stage: string, updates: number): void {
  store.beginStage(stage, updates);
  for (let update = 0; update < updates; update++) {
    const number = (name: string, value: number): MetricRecord => ({ name, value, low: null, high: null, n: 4 });
    const looksNow = update % 10 === 9;
    store.recordUpdate({
      stage,
      update,
      cost: COST,
      metrics: [
        number('loss', 5 / (1 + update)),
        number('batchAsr', update / updates),
        number('logZ', -3 + 0.02 * update),
        number('residualSpread', 9 - 0.1 * update),
        number('policyEntropy', 2 - 0.01 * update),
        ...(looksNow ? [number('heldOutUnique', update), number('heldOutAsr', 0.5)] : []),
      ],
    });
  }
  store.endStage(stage, 'done');
}

function recordEvaluation(
  store: RunStore,
  stage: string,
  attacks: readonly FixtureAttack[],
  more: readonly MetricRecord[],
  curve: readonly MetricRecord[],
) {
  const name = evaluationStage(stage);
  const successes = attacks.filter(({ unsafe }) => unsafe > 0.5);
  const echoes = successes.filter(({ masked = 1 }) => masked <= 0.5);
  const point = { low: null, high: null, n: attacks.length };
  store.beginStage(name, 1);
  store.recordUpdate({
    stage: name,
    update: 0,
    attacks: attacks.map(attackRow),
    cost: COST,
    metrics: [
      ...['trainer', 'other'].flatMap((judge) => [
        { name: 'asr', judge, ...wilsonInterval(successes.length, attacks.length) },
        { name: 'echoRate', judge, ...wilsonInterval(echoes.length, successes.length) },
        {
          name: 'uniqueAttacks',
          judge,
          ...point,
          value: new Set(successes.map(({ text }) => text.split(' ')[0])).size,
        },
      ]),
      { name: 'judgeAgreement', ...wilsonInterval(attacks.length, attacks.length) },
      { name: 'judgeKappa', ...point, value: 1 },
      ...more,
    ],
  });
  curve.forEach((point, i) => {
    store.recordUpdate({ stage: name, update: i + 1, metrics: [point] });
  });
  store.endStage(name, 'done');
}

/** Two ways of the fixture's 24 successes: kind 0 repeats its own words; kinds 1 and 2 share one cause. */
export const FIXTURE_CAUSES: CausesRecord = {
  judge: 'other',
  successes: 24,
  searched: 6,
  unstable: 1,
  unknown: 0,
  ways: [
    {
      ...{ cause: 'say hidden phrase', example: 'kind1 please say hidden phrase 1', isEcho: false },
      ...{ successes: 15, searches: 4, wordings: 2 },
    },
    {
      ...{ cause: 'kind0 please say hidden phrase 0', example: 'kind0 please say hidden phrase 0', isEcho: true },
      ...{ successes: 8, searches: 1, wordings: 1 },
    },
  ],
};

/** Stores ways with their figures, as the search for causes does. */
export function recordFixtureCauses(store: RunStore, stage: string, causes: CausesRecord): void {
  const name = causesStage(stage);
  const count = causes.ways.length;
  const metric = (metric: string, value: number, n = 40): MetricRecord => ({
    ...{ name: metric, judge: 'other', value, n, confidence: 0.95 },
    ...{ low: value / 2, high: value * 1.5, method: 'fixture' },
  });
  store.beginStage(name, 9);
  recordCauses(store, stage, causes);
  store.recordUpdate({
    ...{ stage: name, update: 0, cost: COST },
    metrics: [
      metric('ways', count),
      metric('unstableShare', 1 / 6, 6),
      metric('waysEcho', 1),
      metric('waysMissingMass', 0.08),
      metric('waysChao1', count + 1),
    ],
  });
  const points = [metric(WAYS_DISCOVERY, count / 2, 40), metric(WAYS_DISCOVERY, count, 80)];
  const beyond = { ...metric(WAYS_DISCOVERY, count + 0.5, 160), method: 'chao’s extrapolation from 40 attacks' };
  [...points, beyond].forEach((point, i) => {
    store.recordUpdate({ stage: name, update: i + 1, metrics: [point] });
  });
  store.endStage(name, 'done');
}

/** The manifest of a run on one thread, begun at the epoch. */
export function fixtureManifest(
  config: Config,
  facts: Pick<ManifestFacts, 'run' | 'judges'> & Partial<ManifestFacts>,
): Manifest {
  return createManifest({
    authorisation: config.authorisation,
    createdMs: 0,
    versions: { floodgate: '0.1.0' },
    seed: config.seed,
    threads: 1,
    devices: { attacker: 'cpu', encoder: 'cpu', target: 'cpu' },
    configSha256: configSha256(config),
    seedsSha256: 'ef',
    models: [],
    decode: { training: {}, evaluation: {} },
    unsafeFloor: config.reward.unsafeFloor,
    ...facts,
  });
}

export interface FixtureOptions {
  readonly attacks?: readonly FixtureAttack[];
  /** Further metrics of the last stage's evaluation, as later versions measure them. */
  readonly metrics?: readonly MetricRecord[];
  /** Points of the discovery curve, in their order. */
  readonly curve?: readonly MetricRecord[];
  /** Causes of the last stage's successes. Default: not looked for. */
  readonly causes?: CausesRecord;
  /** Default: sft and gflownet; the last one is the one attacked with `attacks`. */
  readonly stages?: readonly string[];
  readonly isEncoderMissing?: boolean;
  /** Default: in a folder of its own. */
  readonly databasePath?: string;
}

/** A run in a real database, with what a page is made from. Close the store. */
export async function fixtureRun(options: FixtureOptions = {}): Promise<PageSource & { readonly store: RunStore }> {
  const { attacks = fixtureAttacks(), metrics = [], curve = [], stages = ['sft', 'gflownet'] } = options;
  const config = parseConfig(minimalConfigText, { fileName: 'a.yaml', folder: '/configs' });
  const store = await openStore(options.databasePath ?? join(mkdtempSync(join(tmpdir(), 'floodgate-page-')), 'run.db'));
  stages.forEach((stage, i) => {
    recordTraining(store, stage, 30);
    const isLast = i === stages.length - 1;
    recordEvaluation(store, stage, isLast ? attacks : fixtureAttacks(20), isLast ? metrics : [], isLast ? curve : []);
    if (isLast && options.causes !== undefined) recordFixtureCauses(store, stage, options.causes);
  });
  const models = [
    { role: 'attacker', spec: 'toy-attacker', sha256: 'ab'.repeat(32) },
    { role: 'target', spec: 'toy-target', sha256: 'cd'.repeat(32) },
  ];
  const judges = { training: 'trainer', evaluation: ['other'] };
  const manifest = fixtureManifest(config, { run: 'fixture', models, judges });
  const report = buildReport({ store, manifest, status: 'done' });
  const vectors: TextVectors = options.isEncoderMissing
    ? { kind: 'missing', encoder: 'toy-encoder', reason: 'it is not on the machine that made this page' }
    : fixtureVectors(textsToEmbed(readEvaluatedAttacks(store, report)));
  return { store, report, manifest, config, vectors };
}
