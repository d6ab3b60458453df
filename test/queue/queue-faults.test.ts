import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { createFaultCampaign, type FaultCampaign } from './fault-campaign.ts';
import { type Fault, runWithFaults } from './fault-run.ts';

let campaign: FaultCampaign;

/** Short, and with calls of the target in every part. */
const SHORT = [
  'attackers=[sft,gflownet]',
  'gflownet.updates=16',
  'watch.everyUpdates=0',
  'evaluation={attacks: 64, responses: 2, controls: 8, causes: {clusters: 0}}',
];

beforeAll(async () => {
  campaign = await createFaultCampaign(SHORT);
});
afterAll(() => campaign?.remove());

describe('a run with a queue and two workers', { timeout: 300_000 }, () => {
  it('ends with the same rows after workers, Redis, the network and the learner have failed', async () => {
    const { whole, callsOf } = campaign;
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
    const { paid } = callsOf('whole');
    expect(callsOf('faulty').paid).toBe(paid);
    expect(calls).toBeGreaterThanOrEqual(paid);
  });
});
