import { readGolden } from '../support/golden-file.ts';

/** Written by scripts/golden/unseen.py. */
interface GoldenUnseen {
  readonly gammas: {
    readonly cdf: readonly [number, number, number][];
    readonly chiSquare: readonly [number, number, number][];
  };
  readonly missingMass: readonly [number, number, number, number, number][];
  readonly chao1: readonly [number, number, number, number, number, number, number][];
  readonly rarefaction: {
    readonly sizes: readonly number[];
    readonly attacks: number;
    readonly rows: readonly [number, number, number][];
  };
  readonly pareto: readonly { readonly weights: readonly number[]; readonly tail: number; readonly shape: number }[];
  readonly gammaInterval: readonly [number, number, number, number, number][];
}

export const goldenUnseen = await readGolden<GoldenUnseen>('metrics', 'unseen');
