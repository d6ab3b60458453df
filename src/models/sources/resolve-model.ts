import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { sha256OfFile } from './file-hash.ts';
import { type ModelSelection, selectModelFiles } from './file-selection.ts';
import { findFaults, type ModelFile, type ModelManifest, readManifest } from './model-cache.ts';
import { type FetchedLocation, locateModel } from './model-location.ts';
import { type SourceOptions, settleSourceOptions } from './source-environment.ts';

/** A model on this machine, every byte accounted for. */
export interface ResolvedModel {
  /** The spec as it was given. */
  readonly spec: string;
  /** Catalogue name where there is one, else the canonical spec or the path. */
  readonly name: string;
  /** The `.gguf` file, or the folder that holds everything else. Absolute. */
  readonly path: string;
  /** The `.onnx` file of a model that comes as one; absolute, inside `path`. */
  readonly onnxFile?: string;
  /** Names are relative to the model's folder; sha256 in lower-case hex, sizes in bytes. */
  readonly files: readonly ModelFile[];
}

/**
 * Returns the model of `spec` on this machine, verified against its pins or its record. Fetches nothing.
 * @throws FloodgateError `source` when it is missing or damaged, with the command that pulls it; `usage` for a spec
 * that cannot be read.
 */
export async function resolveModel(spec: string, options: SourceOptions = {}): Promise<ResolvedModel> {
  const { cacheDir } = settleSourceOptions(options);
  const location = locateModel(spec, cacheDir);
  if (location.kind === 'path') {
    const { root, files } = await readLocalModel(location.path);
    return describeModel(spec, spec, root, files);
  }
  const manifest = await readManifest(location.slot.folder);
  if (manifest === undefined) {
    throw new FloodgateError('source', `open model ${location.name}: it is not in the model cache (${cacheDir})`, {
      hint: pullCommand(location),
    });
  }
  const [fault] = await findFaults(location.slot.folder, manifest, { isThorough: false });
  if (fault !== undefined) {
    throw new FloodgateError('source', `open model ${location.name}: file ${fault.name}: ${fault.fault}`, {
      hint: pullCommand(location),
    });
  }
  return describeFetched(spec, location, manifest);
}

/** The command that pulls the model. */
export function pullCommand(location: FetchedLocation): string {
  return `floodgate models pull ${location.name}`;
}

export function describeFetched(spec: string, location: FetchedLocation, manifest: ModelManifest): ResolvedModel {
  return describeModel(spec, location.name, location.slot.folder, manifest.files);
}

function describeModel(spec: string, name: string, root: string, files: readonly ModelFile[]): ResolvedModel {
  const folder = resolve(root);
  const fileWith = (ending: string): string | undefined => files.find((file) => file.name.endsWith(ending))?.name;
  const gguf = fileWith('.gguf');
  const onnx = fileWith('.onnx');
  if (gguf !== undefined) return { spec, name, path: join(folder, gguf), files };
  return { spec, name, path: folder, files, ...(onnx === undefined ? {} : { onnxFile: join(folder, onnx) }) };
}

/** Subfolders that may hold files of the model. */
const KNOWN_SUBFOLDERS = ['onnx', '1_Pooling'];

/** A local model: its root folder and the files that belong to it. */
export interface LocalModel {
  readonly root: string;
  readonly selection: ModelSelection;
  readonly files: readonly ModelFile[];
}

/**
 * Reads the model at `path`: a folder, a `.gguf` file or a `.onnx` file. The configuration and tokenizer of a `.onnx`
 * file are beside it, or one folder up when it is in `onnx/`. Hashes every file.
 * @throws FloodgateError `source` when there is none.
 */
export async function readLocalModel(path: string): Promise<LocalModel> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    (cause: unknown) => {
      throw new FloodgateError('source', `open model ${path}: there is no such file or folder`, {
        cause,
        hint: /^https?:/.test(path)
          ? 'a model behind an address is not supported: name a folder, a .gguf file, or a model of floodgate models list'
          : 'floodgate models list shows the models that have a name',
      });
    },
  );
  const root = isFolder ? path : rootOfFile(path);
  const file = isFolder ? undefined : relative(root, path).split(sep).join('/');
  const selection = selectModelFiles(await listNames(root), file, path, (name) => join(path, name));
  const files: ModelFile[] = [];
  for (const name of selection.names) {
    const filePath = join(root, name);
    files.push({ name, sha256: await sha256OfFile(filePath), bytes: (await stat(filePath)).size });
  }
  return { root, selection, files };
}

function rootOfFile(path: string): string {
  const folder = dirname(path);
  return basename(folder) === 'onnx' && path.endsWith('.onnx') ? dirname(folder) : folder;
}

/** File names in `root` and its known subfolders, with `/`. Only files, or links to files. */
async function listNames(root: string): Promise<string[]> {
  const names: string[] = [];
  for (const subfolder of ['', ...KNOWN_SUBFOLDERS]) {
    const entries = await readdir(join(root, subfolder), { withFileTypes: true }).catch(() => []);
    const files = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink());
    append(
      names,
      files.map((entry) => (subfolder === '' ? entry.name : `${subfolder}/${entry.name}`)),
    );
  }
  return names;
}
