import { describe, expect, it } from 'vitest';
import { gradientRules } from '../../src/engine/graph/gradient-rules.ts';
import type { OpKind } from '../../src/engine/graph/ops.ts';
import { compositeCases } from './composite-cases.ts';
import { opCases } from './op-cases.ts';
import { buildCase, gradientErrors, type OpCase } from './op-check.ts';

/** The graph's scalar constants are float32, hence not 1e-11. */
const TOLERANCE = 1e-7;

async function expectGradients(testCase: OpCase): Promise<void> {
  for (const [name, error] of Object.entries(gradientErrors(testCase))) {
    expect(error, `${testCase.name}: ${name}`).toBeLessThan(TOLERANCE);
  }
}

describe('gradients against central differences in float64', () => {
  const differentiable = Object.values(opCases)
    .flat()
    .filter((testCase) => testCase.seeded.length > 0);
  it.each(differentiable.map((testCase) => [testCase.name, testCase] as const))('%s', (_name, testCase) =>
    expectGradients(testCase),
  );
  it.each(compositeCases.map((testCase) => [testCase.name, testCase] as const))('%s', (_name, testCase) =>
    expectGradients(testCase),
  );
});

describe('coverage', () => {
  const kinds = Object.keys(gradientRules) as OpKind[];

  it.each(kinds)('%s: its cases contain it, and differentiate it when it has a rule', (kind) => {
    const built = opCases[kind].map(buildCase);
    const holding = built.filter(({ forward }) => forward.nodes.some((node) => node.op.kind === kind));
    expect(holding.length).toBeGreaterThan(0);
    const differentiated = holding.filter(({ forward, trainable }) => {
      const node = forward.nodes.find((candidate) => candidate.op.kind === kind);
      return trainable.length > 0 && node?.inputs.some((value) => value.requiresGradient);
    });
    expect(differentiated.length > 0).toBe(gradientRules[kind] !== 'none');
  });
});
