import { FloodgateError } from '../base/errors.ts';
import { zeroParameters } from '../engine/optimizer/flat-parameters.ts';
import { loadParameters } from '../learning/checkpoints/trainer-state.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { loraParameters } from '../models/decoder/lora.ts';
import { adapterOfParameters, type LoraAdapter } from '../models/decoder/merge-lora.ts';
import { createOpenModels } from '../models/open-models.ts';
import { parseModelSpec } from '../models/sources/model-spec.ts';
import { lastPart } from '../report/words/path-cutter.ts';
import { writeAdapter } from '../runs/attacker-adapter.ts';
import {
  ATTACKER_VERSION,
  type AttackerFile,
  makeAttackerFolder,
  writeAttackerTexts,
} from '../runs/attacker-folder.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { isWorldSeeds } from '../stages/campaign/config-load.ts';
import { lastTrainedStage } from '../stages/campaign/sample-attacks.ts';
import { stageCheckpoint } from '../stages/checkpoints.ts';
import { attackerCells } from '../stages/config/cells-section.ts';
import type { Config } from '../stages/config/config.ts';
import { loadConfigSeeds } from '../stages/config/seeds.ts';
import { stages } from '../stages/registry.ts';
import { type CampaignIo, leavesPolicy } from '../stages/stage.ts';
import { type AttackerCard, cardLine, createAttackerCard } from './attacker-card.ts';
import { attackerCardText, baseIdOf } from './attacker-card-text.ts';
import { targetNameOf, withOpenedRun } from './export-source.ts';
import type { OpenedRun } from './row-reader.ts';

export interface ExportedAttackerFolder {
  readonly path: string;
  readonly run: string;
  readonly stage: string;
  readonly attacker: AttackerFile;
  readonly card: AttackerCard;
}

const refusal = (run: string, reason: string, hint: string): FloodgateError =>
  new FloodgateError('run', `attacker export ${run}: ${reason}`, { hint });

/** True of a stage that leaves an adapter. */
function leavesAdapter(config: Config, stage: string): boolean {
  return stages.has(stage) && stages.get(stage).trainsEveryWeight?.(config) !== true;
}

function chooseStage({ folder, store, config }: OpenedRun, wanted: string | undefined): string {
  const { name } = folder;
  if (config.attacker.method === 'full')
    throw refusal(name, 'attacker.method is full, so there is no adapter', 'train with attacker.method: lora');
  if (config.world !== undefined)
    throw refusal(
      name,
      'its attacker is the small model of a synthetic world, which no other tool has',
      'export a run with a model of floodgate models list',
    );
  const stage = wanted ?? lastTrainedStage(store, (each) => leavesAdapter(config, each));
  if (stage === undefined)
    throw refusal(name, 'no stage that leaves an adapter is done', `floodgate resume ${name} continues the run`);
  if (stages.has(stage) && !leavesPolicy(stages.get(stage)))
    throw refusal(name, `stage ${stage} leaves no attacker of its own`, 'name another with --stage');
  if (!leavesAdapter(config, stage))
    throw refusal(
      name,
      `stage ${stage} trained every weight, so it is no adapter`,
      'name another with --stage, or train it with smoothing.method: as-attacker',
    );
  return stage;
}

/** Opens the base as the run had it. @throws FloodgateError `run` when its weights are others by now. */
async function openBase({ folder, manifest, config }: OpenedRun, io: CampaignIo): Promise<DecoderCheckpoint> {
  const model = await createOpenModels({ threads: manifest.threads, ...io }).openDecoder(
    config.attacker.model,
    'attacker',
  );
  const before = manifest.models.find(({ role }) => role === 'attacker');
  if (before === undefined || before.sha256 === model.sha256) return model;
  throw refusal(
    folder.name,
    `its base ${model.spec} has the sha256 ${model.sha256} now, expected ${before.sha256}`,
    'put the model of the run back in its place',
  );
}

async function loadAdapter(run: OpenedRun, stage: string, model: DecoderCheckpoint): Promise<LoraAdapter> {
  const { rank, alpha, targets } = run.config.attacker.lora;
  const spec = { rank, alpha, targets };
  const parameters = zeroParameters(loraParameters(model.config, spec));
  await loadParameters(await stageCheckpoint(run.folder, stage), parameters);
  return adapterOfParameters(model.config, spec, parameters);
}

/** Seeds in the run's file; null where it is gone or another by now. */
async function seedCount({ config, manifest }: OpenedRun): Promise<number | null> {
  if (isWorldSeeds(config)) return null;
  const seeds = await loadConfigSeeds(config).catch(() => undefined);
  return seeds?.sha256 === manifest.seedsSha256 ? seeds.attacks.length : null;
}

/** A base that was a path is named by its last part: a path says much of a machine, and means nothing on another. */
function baseOf({ spec, sha256, filesSha256 }: DecoderCheckpoint): AttackerFile['base'] {
  const isPath = parseModelSpec(spec).kind === 'path';
  return {
    spec: cardLine(isPath ? lastPart(spec) || 'model' : spec),
    isPath,
    sha256,
    ...(filesSha256 === undefined ? {} : { filesSha256 }),
  };
}

interface Export {
  readonly run: OpenedRun;
  readonly stage: string;
  readonly model: DecoderCheckpoint;
  readonly card: AttackerCard;
}

/** Large models take a while to open. @throws FloodgateError `interrupted` on abort; nothing is left then. */
export function stopIfAborted({ signal }: CampaignIo, what: string): void {
  if (signal.aborted) throw new FloodgateError('interrupted', `${what}: interrupted, nothing was written`);
}

/** Fills a folder: the adapter first, since the other files hold its hashes. */
async function fill(partial: string, { run, stage, model, card }: Export): Promise<AttackerFile> {
  const { config, manifest, report } = run;
  const adapter = await loadAdapter(run, stage, model);
  const base = baseOf(model);
  const named = { spec: baseIdOf(base.spec), sha256: base.sha256 };
  const hashes = await writeAdapter(partial, { config: model.config, adapter, base: named });
  const { metaPrompt, minTokens, maxTokens, lora } = config.attacker;
  const cells = attackerCells(config.attacker.cells);
  const attacker: AttackerFile = {
    formatVersion: ATTACKER_VERSION,
    name: report.run.name,
    stage,
    floodgate: cardLine(manifest.versions.floodgate ?? 'unknown'),
    base,
    adapter: { ...hashes, ...lora },
    policy: {
      metaPrompt,
      ...(cells === undefined ? {} : { cells: [...cells] }),
      minTokens,
      maxTokens,
      threads: manifest.threads,
    },
    card,
  };
  await writeAttackerTexts(partial, { attacker, card: attackerCardText(attacker, card) });
  return attacker;
}

/**
 * Writes the attacker of a run's stage into a new folder: the adapter in PEFT's format, a card, and
 * `floodgate-attacker.json`, from which `importAttacker` opens it again.
 * @param options.stage default: the last done one that leaves an adapter.
 * @throws FloodgateError `run` when there is no adapter; `usage` when the folder exists; `store` when the disk refuses;
 * `interrupted` on abort.
 */
export async function exportAttacker(
  folder: RunFolder,
  options: { readonly path: string; readonly stage?: string | undefined },
  io: CampaignIo,
): Promise<ExportedAttackerFolder> {
  const { path } = options;
  return withOpenedRun(folder, async (run) => {
    const stage = chooseStage(run, options.stage);
    await stageCheckpoint(folder, stage); // before the model is opened
    const model = await openBase(run, io);
    stopIfAborted(io, `attacker export ${folder.name}`);
    const card = createAttackerCard({ run, stage, target: targetNameOf(run), seeds: await seedCount(run) });
    let attacker: AttackerFile | undefined;
    await makeAttackerFolder(path, 'name another folder with --out', async (partial) => {
      attacker = await fill(partial, { run, stage, model, card });
    });
    return { path, run: run.report.run.name, stage, attacker: attacker as AttackerFile, card };
  });
}
