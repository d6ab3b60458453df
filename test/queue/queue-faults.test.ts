import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { createWholeRun, type WholeRun } from '../stages/whole-run.ts';
import { type CompiledSource, compileSource } from '../support/compiled-source.ts';
import { type Fault, runWithFaults, withSlowTarget } from './fault-run.ts';

let compiled: CompiledSource;
let tiny: TinyCampaign;
let whole: WholeRun;

/** Short, and with calls of the target in every part. */
const SHORT = [
  'attackers=[sft,gflownet]',
  'gflownet.updates=16',
  'watch.everyUpdates=0',
  'evaluation={attacks: 64, responses: 2, controls: 8, causes: {clusters: 0}}',
];

beforeAll(async () => {
  compiled = compileSource();
  tiny = await createTinyCampaign();
  const place = withSlowTarget(placeOfTiny(tiny, compiled.folder), SHORT);
  process.env.CALLS = path.join(tiny.folder, 'whole.calls');
  process.env.DELAY_MS = '0';
  whole = await createWholeRun(place);
});
afterAll(async () => {
  compiled?.remove();
  await tiny?.remove();
});

function paidOf(name: string): number {
  const log = openCallLog(path.join(whole.pathOf(name), 'calls.db'));
  try {
    return log.spent.targetCalls;
  } finally {
    log.close();
  }
}

describe('a run with a queue and two workers', () => {
  it('ends with the same rows after workers, Redis, the network and the learner have failed', async () => {
    const faults: Fault[] = ['worker killed', 'Redis killed', 'network cut', 'learner killed', 'worker stopped'];
    const { met, calls } = await runWithFaults(whole.place, {
      name: 'faulty',
      faults,
      callsBetween: 60,
      delayMs: 15,
      cutMs: () => 1500,
      workers: 2,
      stream: randomStream(1, 'faults'),
    });
    expect(met).toEqual(faults);
    expect(whole.differences('faulty')).toEqual([]);
    // An answer that was drawn twice was counted once.
    expect(paidOf('faulty')).toBe(paidOf('whole'));
    expect(calls).toBeGreaterThanOrEqual(paidOf('whole'));
  });
});
