import { join } from 'node:path';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { coordinate, linearScale, roundEnd, roundTicks, type Scale } from '../../src/report/charts/svg-scale.ts';
import { type Html, html } from '../../src/report/words/html.ts';
import { ATTACKERS } from '../attackers.ts';
import { areaUnderWays } from './discovery.ts';
import type { GroundResults } from './part-file.ts';
import type { SeedResult } from './seed-result.ts';

/** One method in a plot of the claims: its mean over seeds. */
export interface PlotPoint {
  readonly name: string;
  readonly x: number;
  readonly y: number;
}

export interface ScatterPlot {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly points: readonly PlotPoint[];
}

const WIDTH = 720;
const HEIGHT = 480;
const MARGIN = { left: 64, right: 150, top: 48, bottom: 56 };
/** Labels nearer than a line's height are moved down. */
const LINE = 14;

/** Labels at their points' height, pushed apart so that none covers another. */
function labelHeights(points: readonly { readonly name: string; readonly y: number }[]): Map<string, number> {
  const heights = new Map<string, number>();
  let above = Number.NEGATIVE_INFINITY;
  for (const { name, y } of [...points].sort((a, b) => a.y - b.y)) {
    const height = Math.max(y, above + LINE);
    heights.set(name, height);
    above = height;
  }
  return heights;
}

function axes(x: Scale, y: Scale, { xLabel, yLabel }: ScatterPlot): Html {
  const bottom = HEIGHT - MARGIN.bottom;
  const number = (value: number): string => value.toLocaleString('en-US', { maximumFractionDigits: 2 });
  return html`<g stroke="#8a8f98" fill="none"><path d="M${MARGIN.left} ${MARGIN.top}V${bottom}H${WIDTH - MARGIN.right}"/></g>
<g fill="#444a54" font-size="12">${roundTicks(x.low, x.high, 5).map((tick) => html`<text x="${coordinate(x.place(tick))}" y="${bottom + 18}" text-anchor="middle">${number(tick)}</text>`)}${roundTicks(y.low, y.high, 5).map((tick) => html`<text x="${MARGIN.left - 8}" y="${coordinate(y.place(tick) + 4)}" text-anchor="end">${number(tick)}</text>`)}<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${xLabel}</text><text transform="translate(18 ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${yLabel}</text></g>`;
}

/** A scatter plot as an SVG document of its own: one named point a method. */
export function scatterSvg(plot: ScatterPlot): string {
  const right = roundEnd(Math.max(...plot.points.map((point) => point.x)));
  const top = roundEnd(Math.max(...plot.points.map((point) => point.y)));
  const x = linearScale(0, right, MARGIN.left, WIDTH - MARGIN.right);
  const y = linearScale(0, top, HEIGHT - MARGIN.bottom, MARGIN.top);
  const placed = plot.points.map((point) => ({ ...point, x: x.place(point.x), y: y.place(point.y) }));
  const heights = labelHeights(placed);
  const summary = plot.points.map(({ name, x: across, y: up }) => `${name} (${across.toFixed(2)}, ${up.toFixed(2)})`);
  const page = html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" role="img" aria-label="${plot.title}: ${summary.join(', ')}">
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<text x="${MARGIN.left}" y="26" font-size="16" font-weight="600" fill="#1d2129">${plot.title}</text>
${axes(x, y, plot)}
${placed.map((point) => html`<circle cx="${coordinate(point.x)}" cy="${coordinate(point.y)}" r="5" fill="${point.name.startsWith('smoothing') ? '#0b6bcb' : '#7a828e'}"/><text x="${coordinate(point.x + 9)}" y="${coordinate((heights.get(point.name) as number) + 4)}" font-size="12" fill="#1d2129">${point.name}</text>`)}
</svg>`;
  return page.markup;
}

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

/** Writes the plots of one ground at one budget into a folder that is there. Returns their paths. */
export async function writePlots(folder: string, name: string, { seeds, budget }: GroundResults): Promise<string[]> {
  const plots = {
    'asr-by-cosine-distance': {
      title: 'Success and diversity, a point a method (mean over seeds)',
      xLabel: 'mean cosine distance between attacks',
      yLabel: 'attack success rate',
      points: points(seeds, ({ cosineDistance, asr }) => [cosineDistance, asr]),
    },
    'ways-by-area': {
      title: `Ways of fresh attacks, and ways known on average during ${budget} calls`,
      xLabel: 'area under ways against target calls',
      yLabel: 'ways of fresh attacks',
      points: points(seeds, ({ foundAt, ways }) => [
        foundAt === undefined ? undefined : areaUnderWays(foundAt, budget),
        ways,
      ]),
    },
  };
  const files: string[] = [];
  for (const [kind, plot] of Object.entries(plots)) {
    if (plot.points.length === 0) continue;
    const path = join(folder, `${name}-${kind}.svg`);
    await writeFileAtomically(path, (handle) => handle.writeFile(scatterSvg(plot)));
    files.push(path);
  }
  return files;
}
