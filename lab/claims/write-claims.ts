import { join } from 'node:path';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { ATTACKERS } from '../../src/stages/config/attacker-names.ts';
import { type PlotPoint, scatterSvg } from './claims-plot.ts';
import type { ClaimsOutcome } from './run-claims.ts';
import type { SeedResult } from './seed-result.ts';

/** The mean over seeds of two figures of each attacker. */
function points(
  seeds: readonly SeedResult[],
  pick: (figures: NonNullable<SeedResult['attackers']['sft']>) => readonly [number | undefined, number],
): PlotPoint[] {
  return ATTACKERS.flatMap((name) => {
    const pairs = seeds.flatMap(({ attackers }) => {
      const figures = attackers[name];
      const [x, y] = figures === undefined ? [undefined, 0] : pick(figures);
      return x === undefined ? [] : [[x, y] as const];
    });
    if (pairs.length === 0) return [];
    const mean = (at: 0 | 1): number => pairs.reduce((sum, pair) => sum + pair[at], 0) / pairs.length;
    return [{ name, x: mean(0), y: mean(1) }];
  });
}

/** Writes claims.json and the plots into a folder that is there. Returns their paths. */
export async function writeClaims(folder: string, { world, claims, seeds }: ClaimsOutcome): Promise<string[]> {
  const plots = [
    {
      file: 'asr-by-cosine-distance.svg',
      plot: {
        title: 'Success and diversity, a point a method (mean over seeds)',
        xLabel: 'mean cosine distance between attacks',
        yLabel: 'attack success rate',
        points: points(seeds, ({ cosineDistance, asr }) => [cosineDistance, asr]),
      },
    },
    {
      file: 'unique-by-target-calls.svg',
      plot: {
        title: 'Unique attacks, and the target calls they took',
        xLabel: 'target calls used before the evaluation',
        yLabel: 'unique attacks',
        points: points(seeds, ({ targetCalls, uniqueAttacks }) => [targetCalls, uniqueAttacks]),
      },
    },
  ];
  const files = [join(folder, 'claims.json')];
  const json = JSON.stringify({ world, claims, results: seeds }, null, 1);
  await writeFileAtomically(join(folder, 'claims.json'), (handle) => handle.writeFile(`${json}\n`));
  for (const { file, plot } of plots) {
    if (plot.points.length === 0) continue;
    await writeFileAtomically(join(folder, file), (handle) => handle.writeFile(scatterSvg(plot)));
    files.push(join(folder, file));
  }
  return files;
}
