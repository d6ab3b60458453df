import { expect, test, vi } from 'vitest';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import { int8ProductSaturates } from '../../src/engine/runtime/int8-product.ts';
import { openSession } from '../../src/engine/runtime/session.ts';
import { float32Data, float32Tensor, onnxRuntime } from '../../src/engine/runtime/tensors.ts';

test('a trial that the runtime refused once is made again, and what it found is kept', async () => {
  const create = vi.spyOn(onnxRuntime().InferenceSession, 'create');
  try {
    create.mockRejectedValueOnce(new Error('no memory for now'));
    await expect(int8ProductSaturates()).rejects.toThrow('no memory for now');
    expect(await int8ProductSaturates()).toBeTypeOf('boolean');
    await int8ProductSaturates();
    expect(create).toHaveBeenCalledTimes(2);
  } finally {
    create.mockRestore();
  }
});

// Each sum of two products is 64,770 here, twice what 16 bits hold: a kernel that saturates gives half of it.
test.each([1, 2, 16, 80])('the largest factors do not saturate, %i rows', async (rows) => {
  const inputs = 512;
  const g = new GraphBuilder();
  const weight = g.constant('int8', [inputs, 3], new Int8Array(inputs * 3).fill(127));
  const scales = g.constant('float32', [3], new Float32Array(3).fill(1 / 127));
  g.output('y', g.int8Linear(g.input('x', 'float32', [rows, inputs]), weight, scales));
  await using session = await openSession(g.build(), { device: 'cpu', threads: 1, label: 'largest factors' });
  const { y } = await session.run({ x: float32Tensor(new Float32Array(rows * inputs).fill(1), [rows, inputs]) });
  for (const value of float32Data(y)) expect(value).toBeCloseTo(inputs, 2);
});

test('a row does not depend on its neighbours', async () => {
  const g = new GraphBuilder();
  const weight = g.constant('int8', [3, 2], Int8Array.from([1, 2, 3, 4, 5, 6]));
  g.output(
    'y',
    g.int8Linear(g.input('x', 'float32', [2, 3]), weight, g.constant('float32', [2], Float32Array.of(1, 1))),
  );
  await using session = await openSession(g.build(), { device: 'cpu', threads: 1, label: 'rows' });
  const second = async (first: number) => {
    const x = Float32Array.of(first, first, first, 0.3, -0.2, 0.1);
    return [...float32Data((await session.run({ x: float32Tensor(x, [2, 3]) })).y)].slice(2);
  };
  expect(await second(1e4)).toEqual(await second(1e-4));
});
