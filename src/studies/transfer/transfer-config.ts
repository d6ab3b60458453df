import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { nonNegative, positiveCount, RUN_NAME_PATTERN, share } from '../../base/config-fields.ts';
import { device, modelSpec } from '../../models/model-fields.ts';
import { listConfigKeys } from '../../runs/config/config-keys.ts';
import { problemsOfIssues } from '../../runs/config/config-problems.ts';
import { TARGET_FAMILIES, TARGET_SIZES } from '../../worlds/transfer-target.ts';

/** Stops a wrong file (a database, a model) from being read as YAML. */
const MAX_FILE_BYTES = 1024 * 1024;
/** More targets than a matrix can be read with. */
const MAX_TARGETS = 200;
const MAX_PROMPT_CHARACTERS = 20_000;

const decode = z
  .strictObject({
    temperature: nonNegative.max(100).optional().describe('0 = always the likeliest token'),
    topP: share.gt(0).optional().describe('1 = no cut'),
    topK: z.number().int().min(0).optional().describe('0 = no cut'),
    maxNewTokens: positiveCount.max(8192).optional().describe('longer responses are cut'),
  })
  .optional();

const common = {
  name: z
    .string()
    .regex(RUN_NAME_PATTERN, 'must be letters, digits, dot, dash, underscore')
    .optional()
    .describe('column of the matrix; made from the model when absent'),
  decode,
  responses: positiveCount.max(1000).optional().describe('to each attack'),
};

const localTarget = z.strictObject({
  kind: z.literal('local').describe('a language model on this machine'),
  ...common,
  model: modelSpec
    .optional()
    .describe("as in a run's config, or tuned:NAME for RUN/tuned/NAME/model; the run's own target when absent"),
  systemPrompt: z.string().min(1).max(MAX_PROMPT_CHARACTERS).optional(),
  template: z.enum(['chat', 'plain']).optional().describe('chat where the model has a template, when absent'),
  precision: z.enum(['fp32', 'int8']).default('fp32').describe('int8: quantised projections'),
  layers: positiveCount.optional().describe('only the first layers of the model'),
  device: device.default('cpu'),
});

const worldTarget = z.strictObject({
  kind: z.literal('world').describe("a model of the run's world that shares a part of its keys"),
  ...common,
  family: z.enum(TARGET_FAMILIES).default('gpt2'),
  size: z.enum(TARGET_SIZES).default('small'),
  share: share.default(0.5).describe("share of the world's keys that it has too"),
  seed: z.number().int().min(0).default(0).describe('which keys are shared, and its first weights'),
});

const scriptedTarget = z.strictObject({
  kind: z.literal('scripted').describe('answers by fixed rules: for tests and dry runs of a setup'),
  ...common,
  rules: z
    .array(z.strictObject({ contains: z.string().min(1).max(1000), respond: z.array(z.string()).min(1) }))
    .default([]),
  otherwise: z.array(z.string()).min(1).default(['I cannot help with that.']),
});

/** `kind: local` may be left out. */
function withKind(target: unknown): unknown {
  const isSection = target !== null && typeof target === 'object' && !Array.isArray(target);
  return isSection && !('kind' in target) ? { kind: 'local', ...target } : target;
}

const target = z.discriminatedUnion('kind', [localTarget, worldTarget, scriptedTarget]);

const targetsFileSchema = z.strictObject({
  decode: decode.describe('of every target that says nothing else'),
  responses: positiveCount.max(1000).optional(),
  targets: z.array(target).min(1).max(MAX_TARGETS),
});

export type TransferTargetConfig = z.infer<typeof target>;
export type LocalTransferTarget = z.infer<typeof localTarget>;
export type TransferDecode = z.infer<typeof decode>;

/** A target as it was asked for, with the name of its column. */
export type NamedTarget = TransferTargetConfig & { readonly name: string };

type Plain = Readonly<Record<string, unknown>>;

/** Paths that say that they are relative count from the file. */
function fromFolder(config: TransferTargetConfig, folder: string): TransferTargetConfig {
  if (config.kind !== 'local' || config.model === undefined || !/^\.\.?[/\\]/.test(config.model)) return config;
  return { ...config, model: resolve(folder, config.model) };
}

/** What a target is called that was given no name. */
function derivedName(config: TransferTargetConfig): string {
  switch (config.kind) {
    case 'scripted':
      return 'scripted';
    case 'world':
      return `${config.family}-${config.size}-${config.share}`;
    case 'local': {
      const parts = config.model?.replace(/[/\\]model[/\\]?$/, '').split(/[/\\:]/) ?? ['own'];
      const base = (parts.at(-1) ?? '').replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '') || 'model';
      const marks = [
        ...(config.layers === undefined ? [] : [`${config.layers}-layers`]),
        ...(config.precision === 'int8' ? ['int8'] : []),
      ];
      return [base.slice(0, 60), ...marks].join('-');
    }
  }
}

/**
 * The targets in the text of a targets file, each with a name.
 * @throws FloodgateError `config` naming every problem at once.
 */
export function parseTargetsFile(
  text: string,
  { fileName, folder }: { readonly fileName: string; readonly folder: string },
): TransferTargetConfig[] {
  const refuse = (problems: readonly string[]): FloodgateError =>
    new FloodgateError('config', `targets ${fileName}: ${problems.join('\n  ')}`, {
      hint: 'floodgate transfer --help shows what a targets file holds',
    });
  const document = parseDocument(text);
  if (document.errors.length > 0) throw refuse(document.errors.map(({ message }) => message.split('\n')[0] ?? ''));
  const json: unknown = document.toJS(); // refuses alias bombs by itself (maxAliasCount)
  const list = (json as { targets?: unknown } | null)?.targets;
  const withKinds = Array.isArray(list) ? { ...(json as Plain), targets: list.map(withKind) } : (json ?? {});
  const parsed = targetsFileSchema.safeParse(withKinds, { reportInput: true });
  if (!parsed.success) {
    throw refuse(
      problemsOfIssues(parsed.error.issues, listConfigKeys(targetsFileSchema)).map(({ message }) => message),
    );
  }
  const { decode: sharedDecode, responses, targets } = parsed.data;
  return targets.map((each) => {
    const merged = {
      ...each,
      ...(sharedDecode === undefined && each.decode === undefined
        ? {}
        : { decode: { ...sharedDecode, ...each.decode } }),
      ...((each.responses ?? responses) === undefined ? {} : { responses: each.responses ?? responses }),
    };
    return fromFolder(merged, folder);
  });
}

const WORLD_SPEC = /^world:([a-z0-9]+)-([a-z]+)(?:@([0-9.]+))?$/;

/** A target of the command line: `world:FAMILY-SIZE[@SHARE]`, or a model spec (`./` counts from here). */
function parseTargetSpec(spec: string): TransferTargetConfig {
  const [, family, size, part] = WORLD_SPEC.exec(spec) ?? [];
  const given =
    family === undefined
      ? { kind: 'local', model: spec }
      : { kind: 'world', family, size, ...(part === undefined ? {} : { share: Number(part) }) };
  const parsed = target.safeParse(given, { reportInput: true });
  if (parsed.success) return fromFolder(parsed.data, process.cwd());
  const problems = problemsOfIssues(parsed.error.issues, listConfigKeys(targetsFileSchema));
  throw new FloodgateError('usage', `--targets ${spec}: ${problems.map(({ message }) => message).join('; ')}`);
}

async function readTargetsFile(path: string): Promise<TransferTargetConfig[]> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_FILE_BYTES) throw new FloodgateError('config', `targets ${path}: too large, got ${size} bytes`);
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path));
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
export function nameTargets(configs: readonly TransferTargetConfig[]): NamedTarget[] {
  if (configs.length === 0) {
    throw new FloodgateError('usage', 'transfer: got no targets, expected at least one --targets', {
      hint: '--targets targets.yaml, or --targets smollm2-135m-instruct',
    });
  }
  const named = configs.map((config) => ({ ...config, name: config.name ?? derivedName(config) }));
  const twice = named.find(({ name }, i) => named.findIndex((other) => other.name === name) !== i);
  if (twice === undefined) return named;
  throw new FloodgateError('usage', `transfer: got two targets named ${twice.name}, expected a name for each`, {
    hint: 'give one of them another name in a targets file',
  });
}
