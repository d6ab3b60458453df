import { resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { GradientCheck } from '../../src/engine/check/gradient-check.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';

/** The exports of a program in `examples/engine/`, after it has run to its end. */
interface Program {
  readonly check: GradientCheck;
  readonly losses: readonly number[];
  readonly parameters: Float32Array;
}

/** Runs a program for real; each `run` is a fresh start of it. */
async function start(name: string, run: number): Promise<Program> {
  const file = resolve(import.meta.dirname, `../../examples/engine/${name}.mjs?run=${run}`);
  return (await import(/* @vite-ignore */ file)) as Program;
}

const meanOfLast = (losses: readonly number[], count: number): number =>
  losses.slice(-count).reduce((sum, loss) => sum + loss, 0) / count;

/** Nats, the end as a mean of the last 20 updates. A uniform guess loses ln 2 = 0.69, and ln 28 = 3.3 a character. */
const PROGRAMS = [
  { name: 'xor-mlp', updates: 300, parameters: 4, firstLossAbove: 0.6, lastLossBelow: 0.15 },
  { name: 'transformer-lm', updates: 200, parameters: 30, firstLossAbove: 3, lastLossBelow: 0.3 },
] as const;

/** The graph's scalar constants are float32, hence not 1e-11. */
const GRADIENT_TOLERANCE = 1e-7;

describe.each(PROGRAMS)('the example $name', ({ name, updates, parameters, firstLossAbove, lastLossBelow }) => {
  let first: Program;
  let second: Program;

  beforeAll(async () => {
    first = await start(name, 1);
    second = await start(name, 2);
  });

  it('learns', () => {
    expect(first.losses.length).toBe(updates);
    expect(first.losses[0]).toBeGreaterThan(firstLossAbove);
    expect(meanOfLast(first.losses, 20)).toBeLessThan(lastLossBelow);
  });

  it('has right gradients by every parameter, before training', () => {
    expect(Object.keys(first.check.errors).length).toBe(parameters + 3); // and three directions
    expect(first.check.largest).toBeLessThan(GRADIENT_TOLERANCE);
  });

  it('repeats bit for bit, and closes its session', () => {
    expect(second.losses).not.toBe(first.losses);
    expect(second.losses).toEqual(first.losses);
    expect(Buffer.from(second.parameters.buffer).equals(Buffer.from(first.parameters.buffer))).toBe(true);
    expect(liveSessionLabels()).toEqual([]);
  });
});
