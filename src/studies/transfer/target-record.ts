import { canonicalJson } from '../../base/canonical-json.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoreWriter } from '../../runs/store/writer.ts';
import type { DecodeSettings } from '../../targets/target.ts';
import type { TargetFacts } from '../../targets/target-kind.ts';

/** A transfer target as the run database keeps it: its column, its facts, and how it was asked. */
export interface TargetRecord extends TargetFacts {
  /** Column of the matrix. */
  readonly name: string;
  readonly decode: DecodeSettings;
  /** Responses to each attack. */
  readonly responses: number;
}

function keyOf(name: string): string {
  return `transfer-target:${name}`;
}

/** Stores the record under its name, over an earlier one. */
export function recordTarget(store: StoreWriter, record: TargetRecord): void {
  store.setInfo(keyOf(record.name), JSON.stringify(record));
}

/** The record of a target; undefined for one that was never measured. */
export function storedTarget(store: StoreQueries, name: string): TargetRecord | undefined {
  const text = store.info(keyOf(name));
  return text === undefined ? undefined : (JSON.parse(text) as TargetRecord);
}

/** Facts that decide a target's answers, beside its weights. */
const DECIDING = [
  'kind',
  'model',
  'layers',
  'precision',
  'template',
  'systemPrompt',
  'decode',
  'responses',
  'shared',
] as const;

/** Names the facts in which two targets of one name differ. A sha256 that is not known yet differs from nothing. */
export function targetDifferences(before: TargetRecord, now: TargetRecord): string[] {
  const changed: string[] = DECIDING.filter((key) => canonicalJson(before[key]) !== canonicalJson(now[key]));
  const areKnown = before.sha256 !== null && now.sha256 !== null;
  return areKnown && before.sha256 !== now.sha256 ? [...changed, 'weights'] : changed;
}
