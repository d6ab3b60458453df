import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { sha256OfFile } from './file-hash.ts';
import { type ModelSelection, selectModelFiles } from './file-selection.ts';
import type { ModelFile } from './model-cache.ts';

/** Folders below the model's that may hold files of it. */
const KNOWN_SUBFOLDERS = ['onnx', '1_Pooling'];

/** A model found on this machine: its root folder and which files of it count. */
export interface LocalModel {
  readonly root: string;
  readonly selection: ModelSelection;
  readonly files: readonly ModelFile[];
}

/**
 * The model at `path`: a folder, a `.gguf` file, or a `.onnx` file with its configuration and tokenizer beside it (or
 * one folder up, when it lies in `onnx/`). Every file is hashed.
 * @throws FloodgateError `source` when there is none.
 */
export async function readLocalModel(path: string): Promise<LocalModel> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    (cause: unknown) => {
      throw new FloodgateError('source', `open model ${path}: there is no such file or folder`, {
        cause,
        hint: 'floodgate models list shows the models that have a name',
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
    names.push(...files.map((entry) => (subfolder === '' ? entry.name : `${subfolder}/${entry.name}`)));
  }
  return names;
}
