import { z } from 'zod';
import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { UNPRINTABLE, visibleEscape } from '../base/unprintable.ts';
import { judgeConfigOf } from '../judges/judge-names.ts';
import { LICENCES } from '../models/sources/licence.ts';
import { locateModel } from '../models/sources/model-location.ts';
import type { Report, ReportStage } from '../report/figures/report-json.ts';
import { cost, measure } from '../report/figures/report-measures.ts';
import { inPageOrder, isEvaluationMetric } from '../report/words/metric-words.ts';
import { cutStrings } from '../report/words/path-cutter.ts';
import { isEvaluated } from '../report/words/stage-words.ts';
import { plainLine } from '../runs/attacker-folder.ts';
import type { ModelEntry } from '../runs/manifest.ts';
import type { Config, JudgeConfig } from '../stages/config/config.ts';
import { stages } from '../stages/registry.ts';
import { neededStages } from '../stages/stage.ts';
import type { OpenedRun } from './row-reader.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a sha256 of 64 hex digits');
const figure = measure.extend({ method: plainLine.optional() });

/** A target or a judge: its name, and hashes by which another run can tell whether it is the same. */
const part = z.strictObject({
  name: plainLine,
  /** Of the weights of its model; null where no model of this machine is behind it. */
  modelSha256: sha256.nullable(),
  /** Of its section of the config; null where that cannot be told from another. */
  settingsSha256: sha256.nullable(),
});

/** The card of an attacker: facts and figures, no text of an attack. */
export const attackerCard = z.strictObject({
  run: z.strictObject({ createdAt: plainLine, seed: z.number(), configSha256: sha256, stageStatus: plainLine }),
  /** Of the base, where the catalogue knows it. */
  licence: z
    .strictObject({
      id: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/),
      title: plainLine,
      address: z
        .string()
        .max(500)
        .regex(/^https:\/\/[\w./-]+$/, 'expected an https address'),
    })
    .nullable(),
  /** The examples that it first imitated; their number is null where the file is no longer the one used. */
  data: z.strictObject({
    seedsSha256: sha256,
    seeds: z.number().nullable(),
    /** The attacker that it continues in place of the imitation; null where it imitated. */
    startedFrom: plainLine.nullable(),
  }),
  target: part.extend({ kind: plainLine }),
  judges: z.array(part.extend({ role: plainLine, isReported: z.boolean() })).max(200),
  calls: z.array(cost.extend({ work: plainLine })).max(1000),
  /** By the reported judge; empty where the attacker was not evaluated. */
  figures: z.record(plainLine, figure),
  /** Success rate by every judge. */
  asrByJudge: z.array(z.strictObject({ judge: plainLine, asr: figure, corrected: figure.optional() })).max(200),
  settings: z.record(plainLine, plainLine),
});

export type AttackerCard = z.infer<typeof attackerCard>;

const MAX_LINE = 600;

/** A text as the card may hold it: on one line, nothing invisible, not endless. */
export function cardLine(text: string): string {
  const visible = text.replace(UNPRINTABLE, visibleEscape);
  return visible.length > MAX_LINE ? `${visible.slice(0, MAX_LINE)}…` : visible;
}

/** Of settings without their paths, so that equal settings have one hash on every machine. */
function settingsSha256(settings: unknown, cut: OpenedRun['cut']): string | null {
  return settings === undefined ? null : sha256Of(cut(canonicalJson(settings)));
}

function partOf(name: string, entry: ModelEntry | undefined) {
  const isHash = entry !== undefined && /^[0-9a-f]{64}$/.test(entry.sha256);
  return {
    name: cardLine(name),
    modelSha256: isHash ? entry.sha256 : null,
  };
}

const hasWork = ({ targetCalls, judgeCalls, tokens, seconds }: z.infer<typeof cost>): boolean =>
  targetCalls + judgeCalls + tokens + seconds > 0;

/** Calls of the stages that the attacker comes from, and of its measurement. */
function callsOf({ stages: all }: Report, chain: ReadonlySet<string>, stage: string): AttackerCard['calls'] {
  const rows = all.flatMap(({ name, cost: own, evaluationCost, causes, repeatedCost }) => {
    if (!chain.has(name)) return [];
    const training = [
      { work: `training ${name}`, ...own },
      { work: `${name}, made again after a stop`, ...repeatedCost },
    ];
    if (name !== stage) return training;
    return [
      ...training,
      { work: `evaluation of ${name}`, ...evaluationCost },
      ...(causes === undefined ? [] : [{ work: `causes of ${name}`, ...causes.cost }]),
    ];
  });
  return rows.filter(hasWork);
}

function shownFigure({ method, ...rest }: z.infer<typeof measure>): z.infer<typeof figure> {
  return method === undefined ? rest : { ...rest, method: cardLine(method) };
}

function figuresOf(stage: ReportStage | undefined): AttackerCard['figures'] {
  if (stage === undefined || !isEvaluated(stage)) return {};
  const all = { ...stage.metrics, ...stage.causes?.metrics };
  const names = inPageOrder(Object.keys(all)).filter(isEvaluationMetric);
  return Object.fromEntries(names.map((name) => [name, shownFigure(all[name] as z.infer<typeof measure>)]));
}

/** Success rate by each judge, and corrected for its errors where they are known. */
function ratesOf(stage: ReportStage | undefined): AttackerCard['asrByJudge'] {
  return (stage?.judges ?? []).flatMap(({ name, metrics: { asr }, corrected }) => {
    if (asr === undefined) return [];
    const known = corrected === undefined ? {} : { corrected: shownFigure(corrected.correctedAsr) };
    return [{ judge: cardLine(name), asr: shownFigure(asr), ...known }];
  });
}

/** Dotted keys of plain settings. */
function flatten(value: unknown, path: string): (readonly [string, string])[] {
  if (value === undefined) return [];
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return [[cardLine(path), cardLine(typeof value === 'string' ? value : JSON.stringify(value))]];
  return Object.entries(value).flatMap(([key, each]) => flatten(each, `${path}.${key}`));
}

/** The settings that made and measured the attacker. Those of the target and the judges count by their hashes. */
function settingsOf(config: Config, chain: ReadonlySet<string>): AttackerCard['settings'] {
  const {
    model: _model,
    from: _from,
    fromStage: _stage,
    metaPrompt: _prompt,
    cells: _cells,
    ...attacker
  } = config.attacker;
  const sections = [...chain].flatMap((name) => stages.get(name).sections.map(({ key }) => key));
  const { responses, decode } = config.target;
  return Object.fromEntries([
    ...flatten(config.seed, 'seed'),
    ...flatten(attacker, 'attacker'),
    ...flatten({ responses, decode }, 'target'),
    ...[...new Set(sections), 'reward', 'evaluation', 'encoder'].flatMap((key) => flatten(config[key], key)),
  ]);
}

/** The licence of a base, where the catalogue knows it. */
export function licenceOf(spec: string): AttackerCard['licence'] {
  const location = locateModel(spec, '');
  const licence = location.kind === 'path' ? undefined : location.entry?.licence;
  if (licence === undefined) return null;
  const { title, address } = LICENCES[licence];
  return { id: licence.toLowerCase(), title, address };
}

function judgeParts({ manifest, report, config, cut }: OpenedRun): AttackerCard['judges'] {
  const configs: readonly JudgeConfig[] = [config.judges.training, ...config.judges.evaluation];
  const { training, evaluation } = manifest.judges;
  return [...new Set([training, ...evaluation])].map((name) => {
    const entry = manifest.models.find(({ role }) => role === `judge:${name}`);
    const roles = [...(name === training ? ['reward'] : []), ...(evaluation.includes(name) ? ['evaluation'] : [])];
    return {
      ...partOf(cut(name), entry),
      settingsSha256: settingsSha256(judgeConfigOf(name, configs), cut),
      role: roles.join(' and '),
      isReported: name === report.run.reportedJudge,
    };
  });
}

function startedFrom({ attacker: { from, fromStage } }: Config, cut: OpenedRun['cut']): string | null {
  if (from === undefined) return null;
  return cardLine(fromStage === undefined ? cut(from) : `${cut(from)}, stage ${fromStage}`);
}

export interface CardParts {
  readonly run: OpenedRun;
  readonly stage: string;
  /** Name of the target without a path. */
  readonly target: string;
  /** Seeds in the file, where it is still the one used. */
  readonly seeds: number | null;
}

/** The card of a stage's attacker, its figures as the report has them. */
export function createAttackerCard({ run, stage, target, seeds }: CardParts): AttackerCard {
  const { manifest, report, config, cut } = run;
  const chain = neededStages([stage], stages.get);
  const measured = cutStrings(report, cut).stages.find(({ name }) => name === stage);
  const modelOf = (wanted: string) => manifest.models.find(({ role }) => role === wanted);
  return attackerCard.parse({
    run: {
      createdAt: manifest.createdAt,
      seed: manifest.seed,
      configSha256: manifest.configSha256,
      stageStatus: measured?.status ?? 'unknown',
    },
    licence: licenceOf(config.attacker.model),
    data: { seedsSha256: manifest.seedsSha256, seeds, startedFrom: startedFrom(config, cut) },
    target: {
      ...partOf(target, modelOf('target')),
      settingsSha256: settingsSha256(config.target, cut),
      kind: config.target.kind,
    },
    judges: judgeParts(run),
    calls: callsOf(report, chain, stage),
    figures: figuresOf(measured),
    asrByJudge: ratesOf(measured),
    settings: settingsOf(cutStrings(config, cut), chain),
  });
}
