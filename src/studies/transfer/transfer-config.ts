import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { count, nonNegative, positiveCount, RUN_NAME_PATTERN, share } from '../../base/config-fields.ts';
import { FloodgateError } from '../../base/errors.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import { yaml } from '../../base/yaml.ts';
import { resolveDotted } from '../../runs/config/config-file.ts';
import { listConfigKeys } from '../../runs/config/config-keys.ts';
import { problemsOfIssues } from '../../runs/config/config-problems.ts';
import { mapTargetPaths, targetKindOf, variationSchema } from '../../targets/registry.ts';
import type { DecodeSettings } from '../../targets/target.ts';
import type { TargetConfig } from '../../targets/target-kind.ts';
import '../../worlds/world-kinds.ts';

/** Stops a wrong file (a database, a model) from being read as YAML. */
const MAX_FILE_BYTES = 1024 * 1024;
/** More targets than a reader of the matrix can compare. */
const MAX_TARGETS = 200;

/** The kind of a target that names none. */
export const DEFAULT_TARGET_KIND = 'local';

const decode = z
  .strictObject({
    temperature: nonNegative.max(100).optional().describe('0 = always the likeliest token'),
    topP: share.gt(0).optional().describe('1 = no cut'),
    topK: count.optional().describe('0 = no cut'),
    maxNewTokens: positiveCount.max(8192).optional().describe('longer responses are cut'),
  })
  .optional();

/** Keys of every target, beside those of its kind. */
const common = {
  name: z
    .string()
    .regex(RUN_NAME_PATTERN, 'must be letters, digits, dot, dash, underscore')
    .optional()
    .describe('column of the matrix; made from the model when absent'),
  decode,
  responses: positiveCount.max(1000).optional().describe('to each attack'),
};

/** A target to transfer to: what differs from the run's own target, by the keys of its kind. */
export interface TransferTarget {
  readonly name?: string | undefined;
  /** Absent for the run's own target, asked as evaluations ask it. */
  readonly kind?: string | undefined;
  readonly decode?: { readonly [Key in keyof DecodeSettings]?: number | undefined } | undefined;
  readonly responses?: number | undefined;
  readonly [key: string]: unknown;
}

/** A target as it was asked for, with the name of its column. */
export type NamedTarget = TransferTarget & { readonly name: string };

type Plain = Readonly<Record<string, unknown>>;

/** Built for each file, because callers may add kinds of targets. */
function targetsFileSchema() {
  return z.strictObject({
    decode: decode.describe('of every target that says nothing else'),
    responses: positiveCount.max(1000).optional(),
    targets: z.array(variationSchema(common)).min(1).max(MAX_TARGETS),
  });
}

const isSection = (value: unknown): value is Plain =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

function withKind(target: unknown): unknown {
  return isSection(target) && !('kind' in target) ? { kind: DEFAULT_TARGET_KIND, ...target } : target;
}

/** True of a section that changes nothing of the run's own target but how it is asked. */
function isOwn(section: unknown): boolean {
  return isSection(section) && Object.keys(section).every((key) => key in common);
}

/** Relative paths count from `folder`. */
function fromFolder(target: TransferTarget, folder: string): TransferTarget {
  if (target.kind === undefined) return target;
  return mapTargetPaths(target as TargetConfig, (value) => resolveDotted(value, folder));
}

/** A text as a part of a column's name. */
function toName(text: string): string {
  return (text.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'model').slice(0, 60);
}

/** The last part of a model's path or spec; a tuned model's folder is `NAME/model`. */
function modelPart(model: string): string {
  const path = model.replace(/[/\\]model[/\\]?$/, '');
  return toName(path.split(/[/\\:]/).at(-1) ?? '');
}

/** The values that tell targets of one kind apart where the kind names no model: `gpt2-small-0.5`. */
function valuesPart({ name: _name, decode: _decode, responses: _responses, ...keys }: TransferTarget): string {
  const { name, schema } = targetKindOf(keys as TargetConfig);
  const { kind: _kind, decode: _own, responses: _ownResponses, seed: _seed, ...whole } = schema.partial().parse(keys);
  const values = Object.values(whole).filter((value) => typeof value === 'string' || typeof value === 'number');
  return values.length === 0 ? name : toName(values.join('-'));
}

/** The column of a target that was given no name. */
function derivedName(target: TransferTarget): string {
  const { kind, layers, precision } = target;
  if (kind === undefined) return 'own';
  const { modelKeys } = targetKindOf({ kind });
  const model = modelKeys.map((key) => target[key]).find((value) => typeof value === 'string');
  const marks = [
    ...(layers === undefined ? [] : [`${layers}-layers`]),
    ...(precision === undefined || precision === 'fp32' ? [] : [String(precision)]),
  ];
  const base = model !== undefined ? modelPart(model) : modelKeys.length > 0 ? 'own' : valuesPart(target);
  return [base, ...marks].join('-');
}

/**
 * The targets in the text of a targets file, each with a name.
 * @throws FloodgateError `config` naming every problem at once.
 */
export function parseTargetsFile(
  text: string,
  { fileName, folder }: { readonly fileName: string; readonly folder: string },
): TransferTarget[] {
  const refuse = (problems: readonly string[]): FloodgateError =>
    new FloodgateError('config', `targets ${fileName}: ${problems.join('\n  ')}`, {
      hint: 'floodgate transfer --help shows what a targets file holds',
    });
  const document = yaml().parseDocument(text);
  if (document.errors.length > 0) throw refuse(document.errors.map(({ message }) => message.split('\n')[0] ?? ''));
  const json: unknown = document.toJS(); // refuses alias bombs by itself (maxAliasCount)
  const list = isSection(json) && Array.isArray(json.targets) ? (json.targets as unknown[]) : undefined;
  const schema = targetsFileSchema();
  const withKinds = list === undefined ? (json ?? {}) : { ...(json as Plain), targets: list.map(withKind) };
  const parsed = schema.safeParse(withKinds, { reportInput: true });
  if (!parsed.success) {
    throw refuse(problemsOfIssues(parsed.error.issues, listConfigKeys(schema)).map(({ message }) => message));
  }
  const { decode: sharedDecode, responses } = parsed.data;
  return (parsed.data.targets as readonly TransferTarget[]).map((each, i) => {
    const { kind, ...keys } = each;
    const asked = {
      ...(sharedDecode === undefined && keys.decode === undefined
        ? {}
        : { decode: { ...sharedDecode, ...keys.decode } }),
      ...((keys.responses ?? responses) === undefined ? {} : { responses: keys.responses ?? responses }),
    };
    return fromFolder({ ...keys, ...asked, ...(isOwn(list?.[i]) ? {} : { kind }) }, folder);
  });
}

const WORLD_SPEC = /^(world):([a-z0-9]+)-([a-z]+)(?:@([0-9.]+))?$/;

/** A target of the command line: `world:FAMILY-SIZE[@SHARE]`, or a model spec (`./` counts from here). */
function parseTargetSpec(spec: string): TransferTarget {
  const [, kind, family, size, part] = WORLD_SPEC.exec(spec) ?? [];
  const given =
    kind === undefined
      ? { kind: DEFAULT_TARGET_KIND, model: spec }
      : { kind, family, size, ...(part === undefined ? {} : { share: Number(part) }) };
  const parsed = variationSchema(common).safeParse(given, { reportInput: true });
  if (parsed.success) return fromFolder(parsed.data as TransferTarget, process.cwd());
  const problems = problemsOfIssues(parsed.error.issues, listConfigKeys(targetsFileSchema()));
  throw new FloodgateError('usage', `--targets ${spec}: ${problems.map(({ message }) => message).join('; ')}`);
}

async function readTargetsFile(path: string): Promise<TransferTarget[]> {
  let text: string;
  try {
    const bytes = await readRegularFile(
      path,
      MAX_FILE_BYTES,
      (size) => new FloodgateError('config', `targets ${path}: too large, got ${size} bytes`),
    );
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const reason = (cause as NodeJS.ErrnoException).code ?? 'not UTF-8 text';
    throw new FloodgateError('config', `targets ${path}: cannot be read (${reason}), expected a YAML file`, { cause });
  }
  return parseTargetsFile(text, { fileName: path, folder: dirname(resolve(path)) });
}

/**
 * The targets of the command line, in order: each argument is a targets file (.yaml, .yml), a model spec, or
 * `world:FAMILY-SIZE[@SHARE]`. Every target has a name of its own.
 * @throws FloodgateError `usage` when there are none or two have one name; `config` for a bad file.
 */
export async function loadTransferTargets(given: readonly string[]): Promise<NamedTarget[]> {
  const lists = await Promise.all(
    given.map(async (each) => (/\.ya?ml$/i.test(each) ? readTargetsFile(each) : [parseTargetSpec(each)])),
  );
  return nameTargets(lists.flat());
}

/** @throws FloodgateError `usage` when there are none or two have one name. */
export function nameTargets(targets: readonly TransferTarget[]): NamedTarget[] {
  if (targets.length === 0) {
    throw new FloodgateError('usage', 'transfer: got no targets, expected at least one --targets', {
      hint: '--targets targets.yaml, or --targets smollm2-135m-instruct',
    });
  }
  const named = targets.map((target) => ({ ...target, name: target.name ?? derivedName(target) }));
  const twice = named.find(({ name }, i) => named.findIndex((other) => other.name === name) !== i);
  if (twice === undefined) return named;
  throw new FloodgateError('usage', `transfer: got two targets named ${twice.name}, expected a name for each`, {
    hint: 'give one of them another name in a targets file',
  });
}
