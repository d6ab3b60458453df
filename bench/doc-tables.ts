import { type BenchResult, figureText, type GroupResult, goalText, spreadText } from './report.ts';

/** The text between the two marks of a work in docs/performance.md, which is written from its JSON. */
const MARKED = /<!-- bench:([a-z0-9-]+) -->\n[\s\S]*?<!-- \/bench -->/g;

const NOT_MEASURED = 'Not measured yet on an idle machine: `npm run bench -- --work ';

function machineLine({ machine, versions, groups, date, rounds, warmupRounds, threads }: BenchResult): string {
  const peers = groups.flatMap(({ sides }) => sides.map((side) => side.versions as Record<string, string>));
  const all = { ...Object.assign({}, ...peers), ...versions };
  const list = Object.entries(all).map(([name, version]) => `${name} ${version}`);
  const memory = Math.round(machine.memoryBytes / 2 ** 30);
  return (
    `${date.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, ${memory} GiB, ${machine.system}, load before ` +
    `${machine.loadBefore.toFixed(2)}; ${threads} threads, ${rounds} rounds after ${warmupRounds} of warm-up; ${list.join(', ')}.`
  );
}

function groupMarkdown({ name, sides, ratios }: GroupResult): string {
  const rows = ratios.map((ratio) => {
    const value = ratio.value === undefined ? `not measured: ${ratio.missing}` : spreadText(ratio.value);
    return `| ${ratio.label} | ${value} | ${goalText(ratio) || '—'} |`;
  });
  const figures = sides.map((side) => {
    if (side.failure !== undefined) return `- ${side.name}: not run (${side.failure})`;
    return `- ${side.name}: ${Object.entries(side.figures)
      .map(([figure, spread]) => figureText(figure, spread))
      .join('; ')}`;
  });
  return [
    `**${name}**`,
    '',
    '| ratio, pair by pair | median (min..max) | to reach |',
    '|---|---|---|',
    ...rows,
    '',
    ...figures,
  ].join('\n');
}

/** The measured part of one work as Markdown; says how to measure where there is no result. */
export function resultMarkdown(work: string, result: BenchResult | undefined): string {
  if (result === undefined) return `${NOT_MEASURED}${work}\`, then \`npm run bench:docs\`.`;
  return [machineLine(result), ...result.groups.map(groupMarkdown)].join('\n\n');
}

/** `document` with every marked part rewritten; `resultOf` gives the result of a work. */
export function fillTables(document: string, resultOf: (work: string) => BenchResult | undefined): string {
  return document.replace(
    MARKED,
    (_whole, work: string) => `<!-- bench:${work} -->\n\n${resultMarkdown(work, resultOf(work))}\n\n<!-- /bench -->`,
  );
}
