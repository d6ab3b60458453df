import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HARMLESS_PROMPT } from '../../src/targets/target-kind.ts';
import { type ChaosServer, FAULT_NAMES, startChaosServer } from './chaos-server.ts';
import { chaosPass, expectWhole, sumOf } from './chaos-work.ts';

const ATTACKS = 160;
const GIB = 2 ** 30;

let server: ChaosServer;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-chaos-'));
  server = await startChaosServer(0.3, 1, (prompt) => prompt === HARMLESS_PROMPT);
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The long form is `npm run lab -- chaos`: 2,000 attacks, and 20 kills. */
describe('a server that spoils three of ten answers', () => {
  it('loses no answer and counts none twice, also when the budget runs out in between', async () => {
    const work = { server, path: join(folder, 'calls.db'), attacks: ATTACKS };
    const first = await chaosPass(work, { targetCalls: 101 });
    expect(first.evidence).toBeUndefined();
    expect(first.paid).toBeGreaterThanOrEqual(100);
    expect(first.paid).toBeLessThanOrEqual(101);
    const second = await chaosPass(work, { targetCalls: 200 });
    expect(second.evidence).toBeUndefined();
    expect(second.paid).toBeLessThanOrEqual(200);
    const last = await chaosPass(work);
    expectWhole(last, ATTACKS);
    // Each answer that came whole is kept once; a few may have been on their way when their call was given up.
    const texts = (last.evidence ?? []).flatMap(({ responses }) =>
      responses.filter(({ refused }) => refused === undefined),
    );
    const extra = sumOf(server.delivered) - texts.length;
    expect(extra).toBeGreaterThanOrEqual(0);
    expect(extra).toBeLessThan(20);
    expect([...server.faults.keys()].sort()).toEqual([...FAULT_NAMES].sort());
    expect(last.failures.length).toBeGreaterThan(0);
    expect(Math.max(first.peakBytes, second.peakBytes, last.peakBytes)).toBeLessThan(GIB);
    // Those that failed are asked again, and nothing else.
    const again = await chaosPass(work);
    expectWhole(again, ATTACKS);
    expect(again.paid - last.paid).toBe(last.failures.length);
    expect(again.kept).toBeGreaterThan(last.kept);
  });
});
