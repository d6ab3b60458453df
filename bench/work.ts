/** One process of a bench: it speaks the line protocol of `peers/protocol.py`. */
export interface SideSpec {
  /** Short name in ratios and tables. */
  readonly name: string;
  readonly program: 'floodgate' | 'python';
  /** Script below `peers/` (python) or side of `sides/main.ts` (floodgate). */
  readonly script: string;
  readonly options: readonly string[];
  /** Python modules without which it cannot run. */
  readonly modules: readonly string[];
}

/** A figure of one side's answers: `seconds`, `peakMemoryBytes`, or one of its own, nested ones by dots. */
export interface FigureName {
  readonly side: string;
  readonly figure: string;
}

/** `top / bottom`, taken pair by pair within each round. */
export interface RatioSpec {
  readonly label: string;
  readonly top: FigureName;
  readonly bottom: FigureName;
  /** The goal for the median; absent for a ratio that is only reported. */
  readonly goal?: { readonly atLeast?: number; readonly atMost?: number };
}

/** Sides that run interleaved, on the same inputs. */
export interface Group {
  readonly name: string;
  readonly sides: readonly SideSpec[];
  readonly ratios: readonly RatioSpec[];
}

export interface Work {
  readonly name: string;
  readonly title: string;
  groups(settings: WorkSettings): Group[];
}

export interface WorkSettings {
  /** SmolLM2-135M-Instruct as a GGUF file; asked for only by works that generate from it. */
  readonly gguf: () => string;
}

/** How many times as long `slow` takes as `fast`. */
export function timesAsFast(fast: string, slow: string, atLeast?: number): RatioSpec {
  return {
    label: `${slow} time / ${fast} time`,
    top: { side: slow, figure: 'seconds' },
    bottom: { side: fast, figure: 'seconds' },
    ...(atLeast === undefined ? {} : { goal: { atLeast } }),
  };
}
