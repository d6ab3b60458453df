/**
 * A tensor size that may depend on run-time symbols: an integer polynomial such as `P + B*R`.
 * Keys are monomials with sorted symbols (`''` is the constant term); zero terms are never stored,
 * so equal sizes have equal keys.
 */
export interface SymbolicSize {
  readonly terms: ReadonlyMap<string, number>;
}

export type Size = number | SymbolicSize;
export type Shape = readonly Size[];

function termsOf(size: Size): ReadonlyMap<string, number> {
  if (typeof size !== 'number') return size.terms;
  return size === 0 ? new Map() : new Map([['', size]]);
}

function fromTerms(terms: ReadonlyMap<string, number>): Size {
  const kept = new Map([...terms].filter(([, coefficient]) => coefficient !== 0));
  if (kept.size === 0) return 0;
  if (kept.size === 1 && kept.has('')) return kept.get('') as number;
  return { terms: kept };
}

/** The size named by a run-time symbol, e.g. `B`. */
export function symbolSize(symbol: string): Size {
  return { terms: new Map([[symbol, 1]]) };
}

export function addSizes(a: Size, b: Size): Size {
  const sum = new Map(termsOf(a));
  for (const [monomial, coefficient] of termsOf(b)) sum.set(monomial, (sum.get(monomial) ?? 0) + coefficient);
  return fromTerms(sum);
}

export function multiplySizes(a: Size, b: Size): Size {
  const product = new Map<string, number>();
  for (const [left, leftCoefficient] of termsOf(a)) {
    for (const [right, rightCoefficient] of termsOf(b)) {
      const monomial = [...left.split('*'), ...right.split('*')]
        .filter((s) => s !== '')
        .sort()
        .join('*');
      product.set(monomial, (product.get(monomial) ?? 0) + leftCoefficient * rightCoefficient);
    }
  }
  return fromTerms(product);
}

export function subtractSizes(a: Size, b: Size): Size {
  return addSizes(a, multiplySizes(b, -1));
}

/** The number of elements of a shape. */
export function elementCount(shape: Shape): Size {
  return shape.reduce<Size>((count, size) => multiplySizes(count, size), 1);
}

/** A canonical text: equal sizes have equal keys. */
export function sizeKey(size: Size): string {
  if (typeof size === 'number') return String(size);
  return [...size.terms]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([monomial, coefficient]) => (monomial === '' ? String(coefficient) : `${coefficient}${monomial}`))
    .join('+');
}

export function shapeKey(shape: Shape): string {
  return `[${shape.map(sizeKey).join(',')}]`;
}

export function sizesEqual(a: Size, b: Size): boolean {
  return sizeKey(a) === sizeKey(b);
}

export function shapesEqual(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => sizesEqual(size, b[axis] as Size));
}

/** The number that a size means once every symbol has a value. */
export function evaluateSize(size: Size, bindings: ReadonlyMap<string, number>): number {
  if (typeof size === 'number') return size;
  let total = 0;
  for (const [monomial, coefficient] of size.terms) {
    let value = coefficient;
    for (const symbol of monomial.split('*').filter((s) => s !== '')) {
      const bound = bindings.get(symbol);
      if (bound === undefined) throw new RangeError(`evaluate size ${sizeKey(size)}: symbol ${symbol} has no value`);
      value *= bound;
    }
    total += value;
  }
  return total;
}
