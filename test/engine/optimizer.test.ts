import { expect, test } from 'vitest';
import { ADAMW_DEFAULTS, adamwUpdate, clipGradient, createAdamWState } from '../../src/engine/optimizer/adamw.ts';
import { optimizerStep } from '../../src/engine/optimizer/optimizer-step.ts';
import { learningRateAt } from '../../src/engine/optimizer/schedules.ts';
import { type GoldenTensor, goldenFloat32, goldenFloat64, readGolden, relativeError } from '../support/golden-file.ts';

type Tensors = Record<string, GoldenTensor>;

interface GoldenAdamW {
  readonly settings: {
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
    maxNorm: number;
  };
  readonly initial: Tensors;
  readonly updates: readonly {
    gradients: Tensors;
    gradientNorm: number;
    learningRate: number;
    parameters: Tensors;
    firstMoments: Tensors;
    secondMoments: Tensors;
  }[];
}

function flat32(tensors: Tensors): Float32Array {
  return Float32Array.from(Object.values(tensors).flatMap((tensor) => [...goldenFloat32(tensor)]));
}

function flat64(tensors: Tensors): number[] {
  return Object.values(tensors).flatMap((tensor) => [...goldenFloat64(tensor)]);
}

test('three updates equal those of PyTorch: clipping, decoupled decay', async () => {
  const { settings, initial, updates } = await readGolden<GoldenAdamW>('training', 'adamw');
  const parameters = flat32(initial);
  const state = createAdamWState(parameters.length);
  expect(updates.length).toBe(3);
  for (const golden of updates) {
    const gradient = flat32(golden.gradients);
    expect(Math.abs(clipGradient(gradient, settings.maxNorm) - golden.gradientNorm)).toBeLessThan(1e-5);
    const { learningRate } = golden;
    adamwUpdate(parameters, gradient, state, [{ start: 0, end: parameters.length, learningRate }], settings);
    expect(relativeError(parameters, flat64(golden.parameters))).toBeLessThan(1e-6);
    expect(relativeError(state.firstMoment, flat64(golden.firstMoments))).toBeLessThan(1e-6);
    expect(relativeError(state.secondMoment, flat64(golden.secondMoments))).toBeLessThan(1e-6);
  }
});

test('elements outside every segment stay as they are', () => {
  const parameters = Float32Array.of(1, 1, 1);
  adamwUpdate(parameters, Float32Array.of(1, 1, 1), createAdamWState(3), [{ start: 1, end: 2, learningRate: 0.1 }]);
  expect([...parameters]).toEqual([1, Math.fround(0.9), 1]);
});

test('a gradient below the bound is not scaled', () => {
  const gradient = Float32Array.of(0.3, 0.4);
  expect(clipGradient(gradient, 1)).toBeCloseTo(0.5);
  expect([...gradient]).toEqual([Math.fround(0.3), Math.fround(0.4)]);
});

test('the learning rate warms up over updates, then stays or falls to its last share', () => {
  const rule = { peak: 1, warmupUpdates: 2, decay: 'linear', totalUpdates: 6 } as const;
  expect([0, 1, 2, 3, 4, 5].map((update) => learningRateAt(rule, update))).toEqual([0.5, 1, 1, 0.75, 0.5, 0.25]);
  expect([0, 1, 5].map((update) => learningRateAt({ ...rule, decay: 'constant' }, update))).toEqual([0.5, 1, 1]);
  expect(learningRateAt({ ...rule, warmupUpdates: 0 }, 0)).toBe(1);
  const late = { ...rule, decayFrom: 0.6, totalUpdates: 10 };
  expect([0, 1, 5, 6, 7, 8, 9].map((update) => learningRateAt(late, update))).toEqual([0.5, 1, 1, 1, 0.75, 0.5, 0.25]);
  expect(learningRateAt({ ...rule, decayFrom: 0.1 }, 3)).toBe(0.75); // never before the warm-up ends
});

test('one optimizer step is clipping, then AdamW over the segments, bit for bit', () => {
  const start = Float32Array.from({ length: 8 }, (_, i) => Math.sin(i));
  const slope = start.map((value) => 3 * value + 0.1);
  const segments = [
    { start: 0, end: 5, learningRate: 0.1 },
    { start: 5, end: 8, learningRate: 0.02 },
  ];
  const [byHand, byHandGradient, byHandState] = [start.slice(), slope.slice(), createAdamWState(8)];
  const trained = { parameters: { data: start.slice() }, gradient: slope.slice() };
  const state = createAdamWState(8);
  for (let update = 0; update < 3; update++) {
    const norm = clipGradient(byHandGradient, 0.5);
    adamwUpdate(byHand, byHandGradient, byHandState, segments, { ...ADAMW_DEFAULTS, weightDecay: 0.3 });
    const options = { learningRate: segments, gradientClip: 0.5, weightDecay: 0.3 };
    expect(optimizerStep(trained, state, options)).toBe(norm);
    expect(trained.parameters.data).toEqual(byHand);
  }
  expect(state).toEqual(byHandState);
  const whole = { parameters: { data: start.slice() }, gradient: slope.slice() };
  const byOneSegment = { parameters: { data: start.slice() }, gradient: slope.slice() };
  optimizerStep(whole, createAdamWState(8), { learningRate: 0.1, gradientClip: 1 });
  const all = [{ start: 0, end: 8, learningRate: 0.1 }];
  optimizerStep(byOneSegment, createAdamWState(8), { learningRate: all, gradientClip: 1 });
  expect(whole).toEqual(byOneSegment);
});

test('a gradient that is not finite changes neither parameters nor state', () => {
  const trained = { parameters: { data: Float32Array.of(1, 2) }, gradient: Float32Array.of(Number.NaN, 1) };
  const state = createAdamWState(2);
  expect(() => optimizerStep(trained, state, { learningRate: 1, gradientClip: 1 })).toThrow('the gradient is NaN');
  expect([...trained.parameters.data]).toEqual([1, 2]);
  expect(state).toEqual(createAdamWState(2));
});
