import { rm } from 'node:fs/promises';
import { relative } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { acquireLock } from '../../base/lock.ts';
import { type LoraAdapter } from '../../models/decoder/merge-lora.ts';
import { readPeftAdapter } from '../../models/export/peft-adapter.ts';
import { writeTokenizerFiles } from '../../models/export/tokenizer-files.ts';
import { type RunFolder } from '../../runs/run-folder.ts';
import { openStore } from '../../runs/store/run-store.ts';
import { CONTROL_STAGE, evaluatedStage } from '../../runs/store/stage-name.ts';
import { type CampaignIo } from '../../stages/stage.ts';
import { openRunDecoder } from '../../stages/campaign/open-run-models.ts';
import { loadConfig } from '../../stages/config/config-load.ts';
import { type Config } from '../../stages/config/config-schema.ts';
import { collectSuccesses, type Collected } from './collect-successes.ts';
import { writeDataset } from './dataset-files.ts';
import { createAnswerEncoder, loadTuneTexts, openSubject, openSubjectTarget, openTuneEncoder, openTuneJudges, openTuneModels, type TuneModels, type TuneSubject, type TuneTexts } from './tune-subject.ts';
import { type TargetCheck } from './tune-check.ts';
import { checkSubject, countData, warningsOf, readTuneFile, refuseOtherIdentity, type TuneFile, type TuneFolder, type TuneIdentity, tuneFolderOf, writeTuneFile } from './tune-record.ts';
import { tuneTarget } from './tune-target.ts';
import { buildTuningData, type TuningData, type TuningExample } from './tuning-data.ts';
import { type Judge } from '../../judges/judge.ts';

export interface TuneRunOptions {
  readonly folder: RunFolder;
  /** Whose successes; the attacker that was evaluated last when absent. */
  readonly stage?: string;
  /** Model to tune; the run's own target when absent. */
  readonly target?: string;
  readonly template?: 'chat' | 'plain';
  /** Of the folder `RUN/tuned/NAME`; the stage's when absent. */
  readonly name?: string;
  /** Folder of a PEFT adapter to go on from. */
  readonly adapter?: string;
  /** `key=value` over the run's config, e.g. `tuning.epochs=3`. */
  readonly overrides?: readonly string[];
}

/** `nothing`: the stage has no success to learn from; the run is as it was. */
export type TuneOutcome =
  | { readonly kind: 'tuned'; readonly folder: TuneFolder; readonly file: TuneFile }
  | { readonly kind: 'nothing'; readonly stage: string; readonly tried: number };

async function collect(options: TuneRunOptions, config: Config, judge: string) {
  const store = await openStore(options.folder.databasePath, { readOnly: true });
  try {
    const evaluated = store.stages().flatMap(({ name }) => evaluatedStage(name) ?? []);
    const stage = options.stage ?? evaluated.at(-1);
    const { attacks: from, minUnsafe, limit } = config.tuning;
    const trained = store.stages().flatMap(({ name }) => (name === CONTROL_STAGE ? [] : [name]));
    const known = from === 'evaluation' ? evaluated : trained;
    if (stage === undefined || !known.includes(stage)) {
      const got = stage === undefined ? 'no evaluated attacker' : `stage ${stage}`;
      throw new FloodgateError(
        'usage',
        `tune ${options.folder.name}: got ${got}, expected one of ${known.join(', ')}`,
        {
          hint: `floodgate evaluate ${options.folder.name} measures an attacker, whose attacks are then at hand`,
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
 * (PEFT), `model/` (for `transformers`, and as `model:` of a further run), `data/` and `tune.json`. Goes on where it
 * stopped; what is done is returned as it is. Holds the run's lock.
 * @throws FloodgateError `usage` for an unknown stage, a scripted target, or a name that holds another tuning; `run` when
 * another process uses the run; `model` when the adapter does not fit; `interrupted` on abort, nothing lost.
 */
export async function tuneRun(options: TuneRunOptions, io: CampaignIo): Promise<TuneOutcome> {
  const lock = await acquireLock(options.folder.lockPath);
  try {
    const config = await loadConfig(options.folder.configPath, options.overrides);
    const models = await openTuneModels(config, io);
    const judges = await openTuneJudges(config, models);
    try {
      const { stage, collected } = await collect(options, config, judges[0]?.name ?? '');
      if (collected.successes.length === 0) return { kind: 'nothing', stage, tried: collected.tried };
      return await tuneOn({ stage, collected, judges, models, config }, options, io);
    } finally {
      for (const judge of judges) await judge.close();
    }
  } finally {
    await lock.release();
  }
}

async function tuneOn(
  found: Pick<Tuning, 'collected' | 'judges' | 'models' | 'config'> & { readonly stage: string },
  options: TuneRunOptions,
  io: CampaignIo,
): Promise<TuneOutcome> {
  const { stage, config, models } = found;
  const folder = tuneFolderOf(options.folder, options.name ?? stage);
  const subject = await openSubject(config, options, models, io);
  const { checkpoint, template, systemPrompt } = subject;
  const identity: TuneIdentity = {
    run: options.folder.name,
    stage,
    target: { spec: checkpoint.spec, sha256: checkpoint.sha256, template, systemPrompt: systemPrompt ?? null },
    startAdapter: options.adapter ?? null,
    seed: config.seed,
    settings: config.tuning,
  };
  const earlier = await readTuneFile(folder);
  if (earlier !== undefined) refuseOtherIdentity(folder, earlier, identity);
  if (earlier?.status === 'done') return { kind: 'tuned', folder, file: earlier };
  // An adapter that does not fit is found before anything is made.
  const start = options.adapter === undefined ? undefined : await readPeftAdapter(options.adapter, checkpoint.config);
  const texts = await loadTuneTexts(config, models);
  const tuning = { ...found, run: options.folder, io, folder, subject, texts, identity };
  if (earlier === undefined) await writeTuneFile(folder, createTuneFile(tuning));
  return { kind: 'tuned', folder, file: await runTuning(tuning, start, earlier?.check?.before) };
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
    training: null,
    check: null,
    paths: { model: below('model'), adapter: below('adapter'), data: below('data') },
  };
}

async function runTuning(
  tuning: Tuning,
  start: LoraAdapter | undefined,
  measured: TargetCheck | undefined,
): Promise<TuneFile> {
  const { folder, identity, subject, config, models, io } = tuning;
  const data = await makeData(tuning);
  await writeDataset(folder.dataPath, data.examples, {
    run: identity.run,
    target: identity.target.spec,
    targetSha256: identity.target.sha256,
    systemPrompt: subject.systemPrompt,
    license: config.tuning.license,
  });
  const counts = countData(tuning, data);
  const before = measured ?? (await checkSubject(tuning, data, subject));
  const check = before === undefined ? null : { before, after: null };
  await writeTuneFile(folder, { ...createTuneFile(tuning), counts, check }); // a resume need not measure it again
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
  let { checkpoint } = tuned;
  if (subject.source !== undefined) {
    await writeTokenizerFiles(subject.source, tuned.modelPath);
    checkpoint = await openRunDecoder(models.openModels, tuned.modelPath, 'target', models.world);
  }
  const after = check === null ? undefined : await checkSubject(tuning, data, { ...subject, checkpoint });
  const file: TuneFile = {
    ...createTuneFile(tuning),
    status: 'done',
    counts,
    training: tuned.record,
    check: check === null ? null : { ...check, after: after ?? null },
    warnings: [...subject.warnings, ...warningsOf(tuning, counts, tuned.record.keptUpdates)],
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
  const { encoder } = await openTuneEncoder(config, models);
  try {
    return await buildTuningData(
      collected.successes,
      {
        openTarget: (systemPrompt) => openSubjectTarget(subject, seed, systemPrompt),
        decode: target.decode,
        filter: {
          judges,
          maxUnsafe: tuning.maxUnsafe,
          ...(texts.isRefusal === undefined ? {} : { isRefusal: texts.isRefusal }),
        },
        embed: (each) => encoder.embed(each),
        templates: texts.templates,
        benignPrompts: texts.benignPrompts,
        seed,
        progress: io.progress,
        signal: io.signal,
        partialPath: folder.partialPath,
      },
      // A world's model knows no system prompt: its refusals are its polite words.
      models.world === undefined ? tuning : { ...tuning, refusals: { ...tuning.refusals, source: 'template' } },
    );
  } finally {
    await encoder.close();
  }
}

function encodeData({ subject }: Tuning, { examples }: TuningData) {
  const { checkpoint, template, systemPrompt } = subject;
  const encode = createAnswerEncoder({ checkpoint, template, ...(systemPrompt === undefined ? {} : { systemPrompt }) });
  const encodeAll = (split: TuningExample['split']) =>
    examples.filter((example) => example.split === split).map((each) => encode(each.prompt, each.answer, each.isWhole));
  return { training: encodeAll('training'), validation: encodeAll('validation') };
}

/** Everything that a tuning works with. */
export interface Tuning {
  readonly run: RunFolder;
  readonly config: Config;
  readonly io: CampaignIo;
  readonly folder: TuneFolder;
  readonly models: TuneModels;
  readonly subject: TuneSubject;
  readonly texts: TuneTexts;
  readonly judges: readonly Judge[];
  readonly collected: Collected;
  readonly identity: TuneIdentity;
}
