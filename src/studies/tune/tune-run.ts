import { rm } from 'node:fs/promises';
import { relative } from 'node:path';
import { removePartialFiles } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import type { Judge } from '../../judges/judge.ts';
import type { LoraAdapter } from '../../models/decoder/merge-lora.ts';
import { readPeftAdapter } from '../../models/export/peft-adapter.ts';
import { writeTokenizerFiles } from '../../models/export/tokenizer-files.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { evaluatedStage, isAside } from '../../runs/store/stage-name.ts';
import { loadRunConfig } from '../../stages/campaign/config-load.ts';
import { openRunCalls, type RunCalls, withCalls } from '../../stages/campaign/run-calls.ts';
import type { RunModels } from '../../stages/campaign/run-models.ts';
import { openStudyModels } from '../../stages/campaign/study-models.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import type { TargetModel } from '../../targets/target-kind.ts';
import { createLedger, type Ledger, NO_CALLS } from '../../trial/ledger.ts';
import { madeWorld } from '../../worlds/world-registry.ts';
import { type Collected, collectSuccesses } from './collect-successes.ts';
import { writeDataset } from './dataset-files.ts';
import { type CheckedTarget, type CheckPrompts, checkTarget, drawCheckPrompts } from './tune-check.ts';
import {
  countData,
  readTuneFile,
  refuseOtherIdentity,
  type TuneFile,
  type TuneFolder,
  type TuneIdentity,
  tuneFolderOf,
  warningsOf,
  writeTuneFile,
} from './tune-record.ts';
import { createAnswerEncoder, loadTuneTexts, openSubject, openSubjectTarget, type TuneTexts } from './tune-subject.ts';
import { type TunedTarget, tuneTarget } from './tune-target.ts';
import { buildTuningData, type TuningData, type TuningExample } from './tuning-data.ts';

/** The open parts of a tuning. */
interface Tuning {
  readonly run: RunFolder;
  readonly config: Config;
  readonly io: CampaignIo;
  readonly folder: TuneFolder;
  readonly models: RunModels;
  readonly subject: TargetModel;
  readonly texts: TuneTexts;
  readonly judges: readonly Judge[];
  readonly collected: Collected;
  readonly identity: TuneIdentity;
  /** The adapter that training begins with. */
  readonly start: LoraAdapter | undefined;
  /** The record of an earlier start. */
  readonly earlier: TuneFile | undefined;
}

export interface TuneRunOptions {
  readonly folder: RunFolder;
  /** The attacker whose successes are used; the one that was evaluated last when absent. */
  readonly stage?: string;
  /** Model to tune; the run's own target when absent. */
  readonly target?: string;
  readonly template?: 'chat' | 'plain';
  /** NAME of the folder `RUN/tuned/NAME`; the stage's when absent. */
  readonly name?: string;
  /** Folder of a PEFT adapter to start from. */
  readonly adapter?: string;
  /** `key=value` over the run's config, e.g. `tuning.epochs=3`. */
  readonly overrides?: readonly string[];
}

/** `nothing`: the stage has no success to learn from; the run is as it was. */
export type TuneOutcome =
  | { readonly kind: 'tuned'; readonly folder: TuneFolder; readonly file: TuneFile }
  | { readonly kind: 'nothing'; readonly stage: string; readonly tried: number };

/** The successes of the wanted attacker. @throws FloodgateError `usage` for one that the run does not hold. */
async function collect(options: TuneRunOptions, config: Config, judge: string) {
  const store = await openStore(options.folder.databasePath, { readOnly: true });
  try {
    const evaluated = store.stages().flatMap(({ name }) => evaluatedStage(name) ?? []);
    const stage = options.stage ?? evaluated.at(-1);
    const { attacks: from, minUnsafe, limit } = config.tuning;
    const trained = store.stages().flatMap(({ name }) => (isAside(name) ? [] : [name]));
    const known = from === 'evaluation' ? evaluated : trained;
    if (stage === undefined || !known.includes(stage)) {
      const got = stage === undefined ? 'no evaluated attacker' : `stage ${stage}`;
      throw new FloodgateError(
        'usage',
        `tune ${options.folder.name}: got ${got}, expected one of ${known.join(', ')}`,
        {
          hint: `floodgate evaluate ${options.folder.name} measures an attacker, and stores its attacks`,
        },
      );
    }
    return { stage, collected: collectSuccesses(store, { stage, from, minUnsafe, limit, judge }) };
  } finally {
    store.close();
  }
}

/**
 * Tunes a target on the successful attacks of a run so that it refuses them, and writes `RUN/tuned/NAME/`: `adapter/`
 * (PEFT), `model/` (for `transformers`, and as `model:` of a further run), `data/` and `tune.json`. An interrupted tuning
 * resumes; a finished one is returned as it is. Holds the run's lock.
 * @throws FloodgateError `usage` for an unknown stage, a target that cannot be tuned, or a name that holds another tuning;
 * `run` when another process uses the run; `model` when the adapter does not fit; `interrupted` on abort, nothing lost.
 */
export async function tuneRun(options: TuneRunOptions, io: CampaignIo): Promise<TuneOutcome> {
  const lock = await acquireLock(options.folder.lockPath);
  try {
    const config = await loadRunConfig(options.folder, options.overrides);
    const { models, close } = await openStudyModels(config, io, options.folder.path);
    const store = await openStore(options.folder.databasePath);
    try {
      // The tuned target is on this machine: only judges may be asked elsewhere.
      const calls = openRunCalls({ config, folder: options.folder, store }, io, { targets: [], rest: () => '' });
      return await withCalls(calls, ({ signal, progress }) =>
        tuneByJudges({ config, models, calls }, options, { ...io, signal, progress }),
      );
    } finally {
      store.close();
      await close();
    }
  } finally {
    await lock.release();
  }
}

async function tuneByJudges(
  { config, models, calls }: Pick<Tuning, 'models' | 'config'> & { readonly calls: RunCalls },
  options: TuneRunOptions,
  io: CampaignIo,
): Promise<TuneOutcome> {
  const judges = await models.openJudges(calls.judge);
  try {
    const { stage, collected } = await collect(options, config, judges[0]?.name ?? '');
    if (collected.successes.length === 0) return { kind: 'nothing', stage, tried: collected.tried };
    return await tuneOn({ stage, collected, judges, models, config }, options, io);
  } finally {
    for (const judge of judges) await judge.close();
  }
}

async function tuneOn(
  found: Pick<Tuning, 'collected' | 'judges' | 'models' | 'config'> & { readonly stage: string },
  options: TuneRunOptions,
  io: CampaignIo,
): Promise<TuneOutcome> {
  const { stage, config, models } = found;
  const folder = tuneFolderOf(options.folder, options.name ?? stage);
  const subject = await openSubject(models, options);
  const { checkpoint, template, systemPrompt } = subject;
  const identity: TuneIdentity = {
    run: options.folder.name,
    stage,
    target: { spec: checkpoint.spec, sha256: checkpoint.sha256, template, systemPrompt: systemPrompt ?? null },
    startAdapter: options.adapter ?? null,
    seed: config.seed,
    settings: config.tuning,
  };
  await removePartialFiles(folder.path, { recursive: true });
  const earlier = await readTuneFile(folder);
  if (earlier !== undefined) refuseOtherIdentity(folder, earlier, identity);
  if (earlier?.status === 'done') {
    await rm(folder.partialPath, { force: true }); // a kill may have come between the record and this
    return { kind: 'tuned', folder, file: earlier };
  }
  // An adapter that does not fit is found before anything is made.
  const start = options.adapter === undefined ? undefined : await readPeftAdapter(options.adapter, checkpoint.config);
  const texts = await loadTuneTexts(models);
  const tuning = { ...found, run: options.folder, io, folder, subject, texts, identity, start, earlier };
  if (earlier === undefined) await writeTuneFile(folder, createTuneFile(tuning));
  return { kind: 'tuned', folder, file: await runTuning(tuning) };
}

function createTuneFile({ identity, folder, run }: Tuning): TuneFile {
  const below = (name: string) => relative(run.path, `${folder.path}/${name}`);
  return {
    tuneVersion: 1,
    name: folder.name,
    status: 'running',
    ...identity,
    warnings: [],
    counts: null,
    calls: NO_CALLS,
    training: null,
    check: null,
    paths: { model: below('model'), adapter: below('adapter'), data: below('data') },
  };
}

async function runTuning(tuning: Tuning): Promise<TuneFile> {
  const { folder, subject, config, collected, texts, earlier } = tuning;
  const data = await makeData(tuning);
  await writeData(tuning, data);
  const counts = countData(collected, data);
  // A record with counts was written after the first check: its calls hold those of the data and of that check.
  const ledger = createLedger(earlier?.counts == null ? data.calls : (earlier.calls ?? data.calls));
  const prompts = drawCheckPrompts(config, data.examples, texts);
  const known = earlier?.check ?? undefined;
  const fresh = known === undefined ? await checkModel(tuning, subject, prompts, ledger, 'the target') : undefined;
  const before = known?.before ?? fresh?.check;
  const check = before === undefined ? null : { before, after: null };
  const warnings = known === undefined ? (fresh?.warnings ?? []) : (earlier?.warnings ?? []);
  await writeTuneFile(folder, { ...createTuneFile(tuning), counts, calls: ledger.calls, check, warnings });
  const tuned = await trainModel(tuning, data);
  const after = check === null ? undefined : await checkModel(tuning, tuned, prompts, ledger, 'the tuned target');
  const file: TuneFile = {
    ...createTuneFile(tuning),
    status: 'done',
    counts,
    calls: ledger.calls,
    training: tuned.record,
    check: check === null ? null : { ...check, after: after?.check ?? null },
    warnings: [
      ...subject.warnings,
      ...warningsOf(config.tuning, counts, tuned.record.keptUpdates),
      ...warnings,
      ...(after?.warnings ?? []),
    ],
  };
  await writeTuneFile(folder, file);
  await rm(folder.partialPath, { force: true });
  return file;
}

async function makeData({
  config,
  models,
  subject,
  texts,
  judges,
  collected,
  io,
  folder,
}: Tuning): Promise<TuningData> {
  const { tuning, target, seed } = config;
  const { encoder } = await models.openEncoder();
  try {
    return await buildTuningData(
      collected.successes,
      {
        openTarget: (systemPrompt) => openSubjectTarget(subject, seed, systemPrompt),
        decode: target.decode,
        judges,
        filter: {
          maxUnsafe: tuning.maxUnsafe,
          ...(texts.isRefusal === undefined ? {} : { isRefusal: texts.isRefusal }),
        },
        embed: (each) => encoder.embed(each, io.signal),
        templates: texts.templates,
        benignPrompts: texts.benignPrompts,
        seed,
        progress: io.progress,
        signal: io.signal,
        partialPath: folder.partialPath,
      },
      // A world's model knows no system prompt: its refusals are its polite words.
      madeWorld(models.world) === undefined
        ? tuning
        : { ...tuning, refusals: { ...tuning.refusals, source: 'template' } },
    );
  } finally {
    await encoder.close();
  }
}

async function writeData({ folder, identity, subject, config }: Tuning, { examples }: TuningData): Promise<void> {
  await writeDataset(folder.dataPath, examples, {
    run: identity.run,
    target: identity.target.spec,
    targetSha256: identity.target.sha256,
    systemPrompt: subject.systemPrompt,
    license: config.tuning.license,
  });
}

/** The subject with the weights of `checkpoint`, asked a sample of each kind of prompt. @param name in warnings. */
async function checkModel(
  { config, judges, texts, io, subject }: Tuning,
  { checkpoint }: Pick<TargetModel, 'checkpoint'>,
  prompts: CheckPrompts | undefined,
  ledger: Ledger,
  name: string,
): Promise<CheckedTarget | undefined> {
  if (prompts === undefined) return undefined;
  const target = await openSubjectTarget({ ...subject, checkpoint }, config.seed);
  try {
    const { progress, signal } = io;
    const { isRefusal } = texts;
    return await checkTarget(prompts, { name, target, config, judges, isRefusal, ledger, progress, signal });
  } finally {
    await target.close();
  }
}

/** The tuned model, opened from its folder where it has files of its own. */
async function trainModel(tuning: Tuning, data: TuningData): Promise<TunedTarget> {
  const { subject, start, folder, config, models, io } = tuning;
  const tuned = await tuneTarget({
    checkpoint: subject.checkpoint,
    ...(subject.source === undefined ? {} : { source: subject.source }),
    folder: folder.path,
    data: encodeData(tuning, data),
    settings: config.tuning,
    ...(start === undefined ? {} : { start }),
    seed: config.seed,
    compute: subject.compute,
    progress: io.progress,
    signal: io.signal,
  });
  if (subject.source === undefined) return tuned;
  await writeTokenizerFiles(subject.source, tuned.modelPath);
  return { ...tuned, checkpoint: await models.openDecoder(tuned.modelPath, 'target') };
}

function encodeData({ subject }: Tuning, { examples }: TuningData) {
  const encode = createAnswerEncoder(subject);
  const encodeAll = (split: TuningExample['split']) =>
    examples.filter((example) => example.split === split).map((each) => encode(each.prompt, each.answer, each.isWhole));
  return { training: encodeAll('training'), validation: encodeAll('validation') };
}
