import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addSizes,
  elementCount,
  evaluateSize,
  multiplySizes,
  type Size,
  shapesEqual,
  sizeKey,
  sizesEqual,
  subtractSizes,
  symbolSize,
} from '../../src/engine/graph/size.ts';

const bindings = new Map([
  ['B', 3],
  ['P', 7],
  ['R', 2],
]);
const leaf: fc.Arbitrary<Size> = fc.oneof(
  fc.integer({ min: -9, max: 9 }),
  fc.constantFrom('B', 'P', 'R').map((symbol) => symbolSize(symbol)),
);
const { size } = fc.letrec<{ size: Size }>((tie) => ({
  size: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.tuple(tie('size'), tie('size')).map(([a, b]) => addSizes(a, b)),
    fc.tuple(tie('size'), tie('size')).map(([a, b]) => multiplySizes(a, b)),
  ),
}));
const value = (s: Size): number => evaluateSize(s, bindings);

describe('size algebra', () => {
  it('evaluates to the arithmetic of its values', () => {
    fc.assert(
      fc.property(size, size, (a, b) => {
        expect(value(addSizes(a, b))).toBe(value(a) + value(b));
        expect(value(multiplySizes(a, b)) + 0).toBe(value(a) * value(b) + 0); // + 0: no negative zero
        expect(value(subtractSizes(a, b))).toBe(value(a) - value(b));
      }),
    );
  });

  it('is a commutative ring: equal sizes have equal keys', () => {
    fc.assert(
      fc.property(size, size, size, (a, b, c) => {
        expect(sizeKey(addSizes(a, b))).toBe(sizeKey(addSizes(b, a)));
        expect(sizeKey(multiplySizes(a, b))).toBe(sizeKey(multiplySizes(b, a)));
        expect(sizeKey(addSizes(addSizes(a, b), c))).toBe(sizeKey(addSizes(a, addSizes(b, c))));
        expect(sizeKey(multiplySizes(multiplySizes(a, b), c))).toBe(sizeKey(multiplySizes(a, multiplySizes(b, c))));
        expect(sizeKey(multiplySizes(a, addSizes(b, c)))).toBe(
          sizeKey(addSizes(multiplySizes(a, b), multiplySizes(a, c))),
        );
      }),
    );
  });

  it('has 0 and 1, and a difference that cancels to a plain number', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: -99, max: 99 }), (a, n) => {
        expect(sizesEqual(addSizes(a, 0), a)).toBe(true);
        expect(sizesEqual(multiplySizes(a, 1), a)).toBe(true);
        expect(multiplySizes(a, 0)).toBe(0);
        expect(subtractSizes(a, a)).toBe(0);
        expect(subtractSizes(addSizes(a, n), a)).toBe(n);
      }),
    );
  });

  it('tells different polynomials apart', () => {
    fc.assert(
      fc.property(size, size, (a, b) => {
        if (sizesEqual(a, b)) expect(value(a)).toBe(value(b));
        expect(sizesEqual(a, addSizes(a, 1))).toBe(false);
      }),
    );
  });

  it('counts the elements of a shape whatever the order of its axes', () => {
    fc.assert(
      fc.property(fc.array(size, { maxLength: 4 }), (shape) => {
        expect(sizesEqual(elementCount(shape), elementCount([...shape].reverse()))).toBe(true);
        expect(shapesEqual(shape, [...shape])).toBe(true);
        expect(shapesEqual(shape, [...shape, 1])).toBe(false);
      }),
    );
  });

  it('refuses a symbol without a value', () => {
    expect(() => evaluateSize(symbolSize('Q'), bindings)).toThrow('symbol Q has no value');
  });
});
