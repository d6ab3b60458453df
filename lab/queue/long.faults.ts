import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { createFaultCampaign, type FaultCampaign } from '../../test/queue/fault-campaign.ts';
import { FAULTS, type Fault, runWithFaults } from '../../test/queue/fault-run.ts';
import { searchDifferences } from '../../test/queue/search-differences.ts';

/** `QUEUE_FAULTS` and `QUEUE_SEED` change them. */
const COUNT = Number(process.env.QUEUE_FAULTS ?? 200);
const SEED = Number(process.env.QUEUE_SEED ?? 1);
/** Workers draw the attacks too. */
const HAS_SEARCHES = (process.env.QUEUE_SEARCHES ?? '') !== '';

/** Calls of an update, and of the target between two faults: the run lasts for all of them. */
const CALLS_OF_UPDATE = 32;
const CALLS_BETWEEN = 24;
/** The longest cut of the network, once in a long run, and those of every other. */
const LONG_CUT_MS = 60_000;
const MOST_CUT_MS = 3000;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

let campaign: FaultCampaign;

beforeAll(async () => {
  campaign = await createFaultCampaign([
    'attackers=[sft,gflownet]',
    `gflownet.updates=${8 + Math.ceil((3 * COUNT * CALLS_BETWEEN) / CALLS_OF_UPDATE)}`,
    ...(HAS_SEARCHES ? ['gflownet.pipeline.depth=4'] : []),
    'watch.everyUpdates=0',
    'evaluation={attacks: 128, responses: 2, controls: 8, causes: {clusters: 0}}',
  ]);
});
afterAll(() => campaign?.remove());

test(`${COUNT} faults over one run: nothing is lost, nothing is counted twice`, async () => {
  const { whole, callsOf } = campaign;
  const stream = randomStream(SEED, 'queue faults');
  const faults = Array.from({ length: COUNT }, () => FAULTS[stream.nextInt(FAULTS.length)] as Fault);
  let cuts = 0;
  const startedMs = performance.now();
  const own = HAS_SEARCHES ? ['gflownet.pipeline.searches=workers'] : [];
  const place = { ...whole.place, overrides: [...whole.place.overrides, ...own] };
  const { met, calls } = await runWithFaults(place, {
    name: 'faulty',
    faults,
    callsBetween: CALLS_BETWEEN,
    delayMs: 15,
    cutMs: () => (cuts++ === 1 && COUNT >= 100 ? LONG_CUT_MS : 200 + stream.nextFloat() * MOST_CUT_MS),
    workers: 3,
    stream,
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const { size, paid, unanswered } = callsOf('faulty');
  const counted = FAULTS.map((fault) => `${fault} ${met.filter((each) => each === fault).length}`).join(', ');
  const differences = HAS_SEARCHES ? searchDifferences(whole, 'faulty') : whole.differences('faulty');
  say(
    `RESULT ${met.length} faults (${counted}) in ${seconds.toFixed(0)} s; ${paid} calls counted, ` +
      `${callsOf('whole').paid} without faults; the target saw ${calls}; ${size} answers and verdicts kept, ` +
      `${unanswered} unanswered; ${differences.length} differences of the rows`,
  );
  expect(differences).toEqual([]);
  expect(met).toHaveLength(COUNT);
  expect(paid).toBe(callsOf('whole').paid);
});
