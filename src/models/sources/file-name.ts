import { join, resolve, sep } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';

/** Longest path that is accepted inside a model; longer names break file systems and terminals. */
const MAX_PATH_LENGTH = 512;
/** Longest single folder or file name; most file systems stop at 255 bytes and we append `.partial.json`. */
const MAX_SEGMENT_LENGTH = 200;
/** Deepest folder nesting inside a model; stops names made only of separators. */
const MAX_DEPTH = 8;

/** Names that Windows opens as devices in every folder, with any extension. */
const DEVICE_NAME = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)/i;

/** Control characters, separators of other systems, and characters that Windows gives a meaning. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this refuses
const FORBIDDEN_CHARACTER = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\\:*?"<>|]/;

/**
 * Whether `name`, given by a server, an archive or an index, is safe to create below a folder.
 * A safe name never leaves the folder and means the same file on every system.
 */
export function isSafeFileName(name: string): boolean {
  if (name.length === 0 || name.length > MAX_PATH_LENGTH || FORBIDDEN_CHARACTER.test(name)) return false;
  const segments = name.split('/');
  if (segments.length > MAX_DEPTH) return false;
  return segments.every(isSafeSegment);
}

function isSafeSegment(segment: string): boolean {
  // An empty segment is an absolute path or a doubled separator; '.', '..', 'x.' and 'x ' mean other files somewhere.
  if (segment.length === 0 || Buffer.byteLength(segment) > MAX_SEGMENT_LENGTH) return false;
  if (/[. ]$/.test(segment) || segment.startsWith(' ')) return false;
  return !DEVICE_NAME.test(segment);
}

/**
 * Returns the path of `name` inside `folder`.
 * @throws FloodgateError `source` when the name is not safe or would leave the folder.
 */
export function joinInside(folder: string, name: string): string {
  const path = join(folder, ...name.split('/'));
  const isInside = resolve(path).startsWith(resolve(folder) + sep);
  if (!isSafeFileName(name) || !isInside) {
    throw new FloodgateError(
      'source',
      `store a model file: the name is not safe, got ${JSON.stringify(name.slice(0, 120))}, expected a relative path of plain names`,
    );
  }
  return path;
}
