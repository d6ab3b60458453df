import { join } from 'node:path';
import { numberText } from '../report/words/number-words.ts';
import type { RunFolder, RunStatus } from '../runs/run-folder.ts';
import { openAttackPages } from '../runs/store/attack-pages.ts';
import { readSpentOf } from '../runs/store/call-log.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import { isAside } from '../runs/store/stage-name.ts';
import { currencyOf } from './run-config.ts';

/** Seconds that the updates of a stage still take, at the pace of those that are done. */
function secondsLeft(store: RunStore, stage: string, planned: number): number | null {
  const done = store.lastUpdate(stage) + 1;
  const { seconds } = store.cost(stage);
  return done === 0 || seconds === 0 ? null : (seconds / done) * Math.max(0, planned - done);
}

/** The finds so far of the stage in hand, by the training judge. */
async function foundSoFar({ databasePath }: RunFolder, store: RunStore, stage: string) {
  const [loss, rate] = ['loss', 'batchAsr'].map((name) => store.lastMetric(stage, name)?.value ?? undefined);
  const wordings = store.lastMetric(stage, 'heldOutUnique');
  const pages = openAttackPages(databasePath);
  try {
    const texts = await pages.successTexts(stage);
    return {
      loss: loss === undefined ? null : numberText(loss, 'number'),
      successRate: rate === undefined ? null : numberText(rate, 'share'),
      // A stage that only imitates its seeds asks nobody.
      texts: rate === undefined && texts.count === 0 ? null : texts,
      // Grouped at the last look alone: no stage groups its attacks, or asks for their causes, while it trains.
      wordings: wordings === undefined ? null : { count: wordings.value, of: wordings.n, updates: wordings.update + 1 },
    };
  } finally {
    pages.close();
  }
}

/** How the work of a run goes: its calls and their money so far, and the stage in hand. */
export async function workOf(folder: RunFolder, status: RunStatus, store: RunStore | undefined) {
  const stages = store?.stages() ?? [];
  const spent = readSpentOf(join(folder.path, 'calls.db'));
  const stored = stages.reduce((sum, { name }) => sum + (store as RunStore).cost(name).targetCalls, 0);
  const currency = spent === undefined ? undefined : currencyOf(folder);
  const now = status === 'running' ? stages.find((stage) => stage.status !== 'done') : undefined;
  const isSearch = now !== undefined && !isAside(now.name);
  return {
    targetCalls: Math.max(stored, spent?.targetCalls ?? 0),
    newestAttack: store?.newestAttack() ?? null,
    ...{ money: currency === undefined ? null : (spent?.money ?? null), currency: currency ?? null },
    stage: now?.name ?? null,
    secondsLeft: now === undefined ? null : secondsLeft(store as RunStore, now.name, now.updatesPlanned),
    found: isSearch ? await foundSoFar(folder, store as RunStore, now.name) : null,
  };
}
