import { canonicalJson } from '../../base/canonical-json.ts';
import type { Divergence } from '../../models/decoder/divergence.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoreWriter } from '../../runs/store/writer.ts';
import type { DecodeSettings } from '../../targets/target.ts';

/** What is known of a transfer target: kept in the run database, shown by the report. */
export interface TargetRecord {
  readonly name: string;
  readonly kind: 'local' | 'world' | 'scripted';
  readonly model: string;
  /** Of the weights; null for a script, and for a world's target that is not trained yet. */
  readonly sha256: string | null;
  readonly family: string | null;
  /** Layers that are used, and those that the model has. */
  readonly layers: number | null;
  readonly ofLayers: number | null;
  readonly precision: 'fp32' | 'int8';
  readonly template: 'chat' | 'plain' | null;
  readonly systemPrompt: string | null;
  readonly decode: DecodeSettings;
  readonly responses: number;
  /** Keys in common with the run's world; null for any other target. */
  readonly shared: { readonly keys: number; readonly kept: number; readonly seed: number } | null;
  /** int8 against fp32 on a few of the attacks; null in fp32. */
  readonly divergence: Divergence | null;
  /** What a reader must know before comparing. */
  readonly warnings: readonly string[];
}

function keyOf(name: string): string {
  return `transfer-target:${name}`;
}

export function recordTarget(store: StoreWriter, record: TargetRecord): void {
  store.setInfo(keyOf(record.name), JSON.stringify(record));
}

/** Undefined for a target that was never measured. */
export function storedTarget(store: StoreQueries, name: string): TargetRecord | undefined {
  const text = store.info(keyOf(name));
  return text === undefined ? undefined : (JSON.parse(text) as TargetRecord);
}

/** Names of what two targets of one name differ in; a sha256 that is not known yet differs from nothing. */
export function targetDifferences(before: TargetRecord, now: TargetRecord): string[] {
  const keys = [
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
  const changed: string[] = keys.filter((key) => canonicalJson(before[key]) !== canonicalJson(now[key]));
  const areKnown = before.sha256 !== null && now.sha256 !== null;
  return areKnown && before.sha256 !== now.sha256 ? [...changed, 'weights'] : changed;
}
