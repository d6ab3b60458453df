import { describe, expect, it } from 'vitest';
import { compositeCases } from './composite-cases.ts';
import { opCases } from './op-cases.ts';
import { onnxErrors } from './op-check.ts';

/** Of fp32, relative to each tensor's largest value. */
const TOLERANCE = 1e-5;

describe('ONNX Runtime in fp32 against the float64 interpreter, outputs and gradients', () => {
  const cases = [...Object.values(opCases).flat(), ...compositeCases];
  it.each(cases.map((testCase) => [testCase.name, testCase] as const))('%s', async (_name, testCase) => {
    for (const [name, error] of Object.entries(await onnxErrors(testCase))) {
      expect(error, `${testCase.name}: ${name}`).toBeLessThan(TOLERANCE);
    }
  });
});
