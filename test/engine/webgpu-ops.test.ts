import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GraphSession } from '../../src/engine/runtime/session.ts';
import { HAS_WEBGPU, holdWebGpu } from '../support/software-vulkan.ts';
import { compositeCases } from './composite-cases.ts';
import { opCases } from './op-cases.ts';
import { onnxErrors } from './op-check.ts';

/** Relative to each tensor's largest value. */
const TOLERANCE = 1e-5;

/** A software device computes no float16, and no graph of a model casts to it. */
const NEEDS_FLOAT16 = 'cast through float16';

describe.skipIf(!HAS_WEBGPU)('WebGPU against the float64 interpreter, outputs and gradients', () => {
  let held: GraphSession;
  beforeAll(async () => {
    held = await holdWebGpu();
  });
  afterAll(() => held.close());

  const cases = [...Object.values(opCases).flat(), ...compositeCases].filter(({ name }) => name !== NEEDS_FLOAT16);
  it.each(cases.map((testCase) => [testCase.name, testCase] as const))('%s', async (_name, testCase) => {
    for (const [name, error] of Object.entries(await onnxErrors(testCase, 'webgpu'))) {
      expect(error, `${testCase.name}: ${name}`).toBeLessThan(TOLERANCE);
    }
  });

  it('the case left out is one of the cases', () => {
    expect(opCases.cast.map(({ name }) => name)).toContain(NEEDS_FLOAT16);
  });
});
