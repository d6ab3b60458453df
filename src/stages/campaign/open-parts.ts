import { FloodgateError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { defaultThreads } from '../../engine/runtime/device.ts';
import type { Judge, JudgeConfig } from '../../judges/judge.ts';
import { openJudge as openJudgeOf } from '../../judges/registry.ts';
import { createOpenModels } from '../../models/open-models.ts';
import { resolveModel } from '../../models/sources/resolve-model.ts';
import { listConfigKeys } from '../../runs/config/config-keys.ts';
import { problemsOfIssues } from '../../runs/config/config-problems.ts';
import { planTarget, targetSchema } from '../../targets/registry.ts';
import type { OpenTarget, TargetConfig, TargetHost } from '../../targets/target-kind.ts';
import { checkTarget, type TargetCheckResult } from '../../trial/target-check.ts';

/** Settings for a target or a judge that no campaign opens. */
export interface OpenPartOptions {
  /** Folder of the model cache; the user's own when absent. */
  readonly cacheDir?: string;
  /** Threads of the model runtime; every core when absent. */
  readonly threads?: number;
  /** Seed of every response's random stream. Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

function openModelsFor({ cacheDir, threads = defaultThreads() }: OpenPartOptions) {
  return createOpenModels({ threads, ...(cacheDir === undefined ? {} : { cacheDir }) });
}

function parseTarget(config: unknown): TargetConfig {
  const schema = targetSchema();
  const parsed = schema.safeParse(config, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = problemsOfIssues(parsed.error.issues, listConfigKeys(schema));
  throw new FloodgateError('config', `open target: ${problems.map(({ message }) => message).join('; ')}`);
}

function hostFor(options: OpenPartOptions): TargetHost {
  const { threads = defaultThreads(), seed = 0, signal = new AbortController().signal, cacheDir } = options;
  const models = openModelsFor(options);
  const place = cacheDir === undefined ? {} : { cacheDir };
  return {
    openDecoder: (spec) => models.openDecoder(spec, 'target'),
    sourceOf: async (spec) => (await resolveModel(spec, place)).path,
    seed,
    threads,
    progress: silentProgress,
    signal,
    ...place,
    world: undefined,
  };
}

/**
 * Opens a target by its section of a config, e.g. `{ kind: 'local', model: 'smollm2-135m-instruct' }`. Close it when
 * done.
 * @throws FloodgateError `config` for a key that its kind does not know; `source` for a model that is not on this
 * machine; `model`, `target`, `usage` as its kind states.
 */
export async function openTarget(
  config: Readonly<Record<string, unknown>>,
  options: OpenPartOptions = {},
): Promise<OpenTarget> {
  return (await planTarget(parseTarget(config), hostFor(options))).open([]);
}

/**
 * Puts one harmless prompt to a target, as `floodgate target test` does. @throws FloodgateError as `openTarget`, and
 * `target` when no answer comes back.
 */
export async function testTarget(
  config: Readonly<Record<string, unknown>>,
  options: OpenPartOptions = {},
): Promise<TargetCheckResult> {
  const parsed = parseTarget(config);
  const host = hostFor(options);
  return checkTarget(await planTarget(parsed, host), parsed, host.signal);
}

/**
 * Opens a judge by its section of a config, e.g. `{ kind: 'profanity' }`. Close it when done.
 * @throws FloodgateError `config` for a key that its kind does not know; `source` for a model that is not on this
 * machine.
 */
export async function openJudge(config: JudgeConfig, options: OpenPartOptions = {}): Promise<Judge> {
  return openJudgeOf(config, { models: openModelsFor(options).judges });
}
