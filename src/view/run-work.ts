import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { RunFolder, RunStatus } from '../runs/run-folder.ts';
import { readSpentOf } from '../runs/store/call-log.ts';
import type { RunStore } from '../runs/store/run-store.ts';

const pricedConfig = z.looseObject({ prices: z.looseObject({ currency: z.string().max(20) }) });

/** The currency of the run's price table; undefined where it has none. */
function currencyOf({ configPath }: RunFolder): string | undefined {
  return pricedConfig.safeParse(parse(readFileSync(configPath, 'utf8'))).data?.prices.currency;
}

/** Seconds that the updates of a stage still take, at the pace of those that are done. */
function secondsLeft(store: RunStore, stage: string, planned: number): number | null {
  const done = store.lastUpdate(stage) + 1;
  const { seconds } = store.cost(stage);
  return done === 0 || seconds === 0 ? null : (seconds / done) * Math.max(0, planned - done);
}

/** How the work of a run goes: its calls and their money so far, and the stage in hand. */
export function workOf(folder: RunFolder, status: RunStatus, store: RunStore | undefined) {
  const stages = store?.stages() ?? [];
  const spent = readSpentOf(join(folder.path, 'calls.db'));
  const stored = stages.reduce((sum, { name }) => sum + (store as RunStore).cost(name).targetCalls, 0);
  const currency = spent === undefined ? undefined : currencyOf(folder);
  const now = status === 'running' ? stages.find((stage) => stage.status !== 'done') : undefined;
  return {
    targetCalls: Math.max(stored, spent?.targetCalls ?? 0),
    ...{ money: currency === undefined ? null : (spent?.money ?? null), currency: currency ?? null },
    stage: now?.name ?? null,
    secondsLeft: now === undefined ? null : secondsLeft(store as RunStore, now.name, now.updatesPlanned),
  };
}
