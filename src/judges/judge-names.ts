/** Judges are told apart by their names: in the database, in metrics and in the report. */
import { canonicalJson } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { JudgeConfig, JudgeMeasures } from './judge.ts';
import { judgeKinds } from './judge-kinds.ts';

/** A judge of a run: its config, defaults filled in, and its name where it is known. */
export interface NamedJudge {
  readonly name: string | undefined;
  readonly config: JudgeConfig;
}

/** Two judges, by their positions, that have one name and different settings. */
export interface SharedName {
  readonly name: string;
  readonly first: number;
  readonly second: number;
}

/** The name of the judge that `config` opens. Undefined where its kind tells the name only after opening. */
export function judgeName(config: JudgeConfig): string | undefined {
  return judgeKinds.get(config.kind).nameOf?.(config, judgeName);
}

/** The quality that the judge of `config` takes for unsafe; undefined where that is meant to be harm. */
export function judgeMeasures(config: JudgeConfig): JudgeMeasures | undefined {
  return judgeKinds.get(config.kind).measures?.(config, judgeMeasures);
}

/** Names of the kinds of harm that the judge of `config` is asked for; none where its policy names none. */
export function judgeSees(config: JudgeConfig): readonly string[] {
  return judgeKinds.get(config.kind).sees?.(config, judgeSees) ?? [];
}

/**
 * The config of the judge called `name`. A kind may tell a name only after opening: such a config is meant when no other
 * one has the name, and it is the only one of its sort.
 */
export function judgeConfigOf(name: string, configs: readonly JudgeConfig[]): JudgeConfig | undefined {
  const nameless = configs.filter((config) => judgeName(config) === undefined);
  return configs.find((config) => judgeName(config) === name) ?? (nameless.length === 1 ? nameless[0] : undefined);
}

/**
 * The judges that have the name of an earlier one and other settings. Equal settings are one judge, which a config may
 * name twice.
 */
export function findSharedNames(judges: readonly NamedJudge[]): SharedName[] {
  const earlier = new Map<string, { readonly position: number; readonly settings: string }>();
  const shared: SharedName[] = [];
  for (const [position, { name, config }] of judges.entries()) {
    if (name === undefined) continue;
    const settings = canonicalJson(config);
    const found = earlier.get(name);
    if (found === undefined) earlier.set(name, { position, settings });
    else if (found.settings !== settings) shared.push({ name, first: found.position, second: position });
  }
  return shared;
}

/** @throws FloodgateError `config` when two opened judges have one name and different settings. */
export function refuseSharedNames(judges: readonly NamedJudge[]): void {
  const [shared] = findSharedNames(judges);
  if (shared === undefined) return;
  throw new FloodgateError('config', `open judges: two judges with different settings have the name ${shared.name}`, {
    hint: 'each judge needs a name of its own: set its key name, or rename it where its kind is defined',
  });
}
