import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { RUN_NAME_PATTERN } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { LoraAdapter } from '../models/decoder/merge-lora.ts';
import { parseFields } from '../models/formats/json-file.ts';
import { createOpenModels } from '../models/open-models.ts';
import { parseModelSpec } from '../models/sources/model-spec.ts';
import { readAttackerAdapter, writeAdapter } from '../runs/attacker-adapter.ts';
import {
  ATTACKER_FILE,
  type AttackerFile,
  type AttackerFolder,
  makeAttackerFolder,
  readAttackerFile,
  writeAttackerTexts,
} from '../runs/attacker-folder.ts';
import { baseSpecOf } from '../stages/campaign/exported-attacker.ts';
import type { CampaignIo } from '../stages/stage.ts';
import { type AttackerCard, attackerCard } from './attacker-card.ts';
import { attackerCardText, baseIdOf } from './attacker-card-text.ts';
import { stopIfAborted } from './export-attacker.ts';

export interface ImportAttackerOptions {
  /** Folder of an exported attacker. */
  readonly folder: string;
  readonly runsFolder: string;
  /** Default: the name of the run that trained it. */
  readonly name?: string | undefined;
  /** This machine's copy of the base; default: the spec that the attacker names. */
  readonly base?: string | undefined;
}

export interface ImportedAttacker {
  readonly name: string;
  readonly path: string;
  readonly attacker: AttackerFile;
  readonly card: AttackerCard;
  /** Spec of the base on this machine. */
  readonly base: string;
  /** Differences that do not hinder the import, but may change the attacks. */
  readonly warnings: readonly string[];
}

/** The card inside a file. @throws FloodgateError `format` when it is damaged. */
export function cardOf(folder: AttackerFolder, attacker: AttackerFile): AttackerCard {
  return parseFields(attackerCard, attacker.card, `read ${join(folder.path, ATTACKER_FILE)}: card`);
}

function checkedName(name: string): string {
  if (RUN_NAME_PATTERN.test(name)) return name;
  throw new FloodgateError(
    'usage',
    `attacker import: --name: got ${JSON.stringify(name)}, expected letters, digits, dot, dash, underscore`,
  );
}

/** The spec of a base is stored for later starts, from any folder, so a path is made absolute. */
function storedBase(spec: string): string {
  return parseModelSpec(spec).kind === 'path' ? resolve(spec) : spec;
}

interface Stored {
  readonly place: string;
  readonly attacker: AttackerFile;
  readonly card: AttackerCard;
  readonly base: string;
  readonly model: DecoderCheckpoint;
  readonly adapter: LoraAdapter;
}

/** Writes every file from the checked values. Another tool's layout of the same values has other hashes, so they are taken again. */
async function storeAttacker({ place, attacker, card, base, model, adapter }: Stored): Promise<AttackerFile> {
  let file = attacker;
  await makeAttackerFolder(place, 'choose another with --name', async (partial) => {
    const named = { spec: baseIdOf(attacker.base.spec), sha256: attacker.base.sha256 };
    const hashes = await writeAdapter(partial, { config: model.config, adapter, base: named });
    file = { ...attacker, adapter: { ...attacker.adapter, ...hashes } };
    await writeAttackerTexts(partial, { attacker: file, card: attackerCardText(file, card), base });
  });
  return file;
}

/**
 * Stores an exported attacker in the folder of runs, where `attacker.from: attacker:NAME` and `floodgate serve NAME` find
 * it. Every hash is checked, and the base on this machine must be the one that it was trained on. All files are written
 * from checked values: nothing else of the folder is taken.
 * @throws FloodgateError `format` for a damaged folder; `model` for another base; `source` when the base is not here;
 * `usage` for a name that is bad or taken; `interrupted` on abort.
 */
export async function importAttacker(options: ImportAttackerOptions, io: CampaignIo): Promise<ImportedAttacker> {
  const path = resolve(options.folder);
  const folder: AttackerFolder = { name: path, path };
  if (!existsSync(join(path, ATTACKER_FILE)))
    throw new FloodgateError('usage', `attacker import: ${path} holds no ${ATTACKER_FILE}`, {
      hint: 'name a folder that floodgate attacker export wrote',
    });
  const attacker = await readAttackerFile(folder);
  const card = cardOf(folder, attacker);
  const name = checkedName(options.name ?? attacker.name);
  const base = storedBase(baseSpecOf(folder, attacker, options.base));
  const model = await createOpenModels({ threads: attacker.policy.threads, ...io }).openDecoder(base, 'attacker');
  const adapter = await readAttackerAdapter(folder, attacker, model);
  stopIfAborted(io, `attacker import ${path}`);
  const place = resolve(options.runsFolder, name);
  const file = await storeAttacker({ place, attacker, card, base, model, adapter });
  const { filesSha256 } = attacker.base;
  const isOther = filesSha256 !== undefined && model.filesSha256 !== undefined && filesSha256 !== model.filesSha256;
  const warning = `the weights of ${base} are those of the attacker, but its other files or their names differ: a changed tokenizer changes the attacks`;
  return { name, path: place, attacker: file, card, base, warnings: isOther ? [warning] : [] };
}
