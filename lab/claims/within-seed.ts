import { type RandomStream, randomStream } from '../../src/base/random.ts';
import type { AttackerName } from '../../src/stages/config/attacker-names.ts';
import type { ClaimComponent } from './claim-definitions.ts';
import type { SeedResult, TunedFigures } from './seed-result.ts';

type ByAttacker<T> = Readonly<Partial<Record<AttackerName, T>>>;
type Errors<Figures> = { readonly [Name in keyof Figures]?: number | undefined };

/** `figures` with each one that has an error moved by a normal draw of it; a share or a count is never negative. */
function moved<Figures extends object>(
  figures: Figures,
  errors: Errors<Figures> | undefined,
  random: RandomStream,
): Figures {
  const changed = Object.entries<number | undefined>(errors ?? {}).map(([name, error = 0]) => {
    const value = figures[name as keyof Figures] as number;
    return [name, Math.max(0, value + error * random.nextNormal())];
  });
  return { ...figures, ...Object.fromEntries(changed) };
}

function each<T>(row: ByAttacker<T>, change: (value: T) => T): ByAttacker<T> {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value as T)]));
}

/** The seed's result as it might have come out with other attacks of the same attackers. */
function redrawn(seed: SeedResult, random: RandomStream): SeedResult {
  const { attackers, retrained, transfer, tuned } = seed;
  const redraw = <Figures extends { readonly errors?: Errors<Figures> | undefined }>(row: ByAttacker<Figures>) =>
    each(row, (figures) => moved(figures, figures.errors, random));
  return {
    ...seed,
    attackers: redraw(attackers),
    ...(retrained === undefined ? {} : { retrained: redraw(retrained) }),
    ...(transfer === undefined
      ? {}
      : { transfer: Object.fromEntries(Object.entries(transfer).map(([name, row]) => [name, redraw(row)])) }),
    ...(tuned === undefined ? {} : { tuned: each(tuned, (target) => redrawnTarget(target, random)) }),
  };
}

function redrawnTarget(target: TunedFigures, random: RandomStream): TunedFigures {
  const { asr, overRefusal, errors } = target;
  if (errors === undefined) return target;
  const refused =
    overRefusal === undefined ? {} : moved({ overRefusal }, { overRefusal: errors.overRefusal ?? 0 }, random);
  return { ...target, asr: moved(asr, errors.asr, random), ...refused };
}

/** Gives the standard deviation to about 4%. */
const DRAWS = 400;

/**
 * Standard error of a component at one seed, from the draw of the evaluated attacks alone: every figure is drawn again
 * within the interval that subsampling (counts) or Wilson's formula (shares) gives it, and the component computed anew.
 */
export function errorWithinSeed(component: ClaimComponent, seed: SeedResult): number {
  const random = randomStream(seed.seed, 'within seed', component.name);
  const values = Array.from({ length: DRAWS }, () => component.of(redrawn(seed, random))).filter(
    (value) => value !== undefined && Number.isFinite(value),
  ) as number[];
  if (values.length < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}
