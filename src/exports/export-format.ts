import type { FileHandle } from 'node:fs/promises';
import type { ExportSource } from './export-source.ts';

interface FormatWords {
  /** The value of `--format`. */
  readonly name: string;
  /** One line for `--help`. */
  readonly describe: string;
}

/** A format that is text: it can go to standard output. */
export interface TextFormat extends FormatWords {
  readonly kind: 'text';
  /** Yields the text in order, in pieces of any size: memory stays small however many attacks there are. */
  pieces(source: ExportSource): Iterable<string>;
}

/** A format of bytes: it needs a file. */
export interface FileFormat extends FormatWords {
  readonly kind: 'file';
  /** Writes the whole file; yields after each part, so that the caller can stop it. */
  write(source: ExportSource, handle: FileHandle): AsyncIterable<void>;
}

/** A format of several files in a folder of their own. */
export interface FolderFormat extends FormatWords {
  readonly kind: 'folder';
  /** Fills an empty folder; yields after each part. */
  fill(source: ExportSource, folder: string): AsyncIterable<void>;
}

/** One format: its file in `formats/`, and its line in the registry. */
export type ExportFormat = TextFormat | FileFormat | FolderFormat;
