import { meanOverSeeds, pairedDifference } from '../../src/metrics/intervals.ts';
import { ATTACKERS, type AttackerName } from '../attackers.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import { decideGoals, FIGURES, type Figure, type FigureName, pairsOf, type Whose } from './goals.ts';
import { groundNamed } from './grounds/registry.ts';
import type { GroundResults } from './part-file.ts';
import type { SeedResult } from './seed-result.ts';

const number = (value: number | null | undefined, digits: number): string =>
  value == null ? '–' : value.toFixed(digits);

type Interval = Pick<DecidedClaim, 'value' | 'low' | 'high'>;

const interval = ({ value, low, high }: Interval, digits = 3): string =>
  low === null || high === null
    ? number(value, digits)
    : `${number(value, digits)} [${number(low, digits)}, ${number(high, digits)}]`;

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Attackers that `pick` has figures of in a seed at least, in the order of the product. */
function present(seeds: readonly SeedResult[], pick: (seed: SeedResult) => object | undefined): AttackerName[] {
  return ATTACKERS.filter((name) => seeds.some((seed) => name in (pick(seed) ?? {})));
}

/** A figure of every seed, in the order of seeds. */
function bySeed(seeds: readonly SeedResult[], pick: (seed: SeedResult) => number | undefined, digits: number): string {
  return seeds.map((seed) => number(pick(seed), digits)).join(', ');
}

const COLUMNS: readonly (readonly [string, Figure, number])[] = [
  ['ASR', FIGURES.ASR, 2],
  ['ways', FIGURES.ways, 2],
  ['ASR x ways', FIGURES['ASR x ways'], 2],
  ['area under ways', FIGURES['area under ways'], 1],
  ['wordings', ({ wordings }) => wordings, 0],
  ['communities', ({ communities }) => communities, 0],
  ['causes', ({ causes }) => causes, 0],
  ['ASR, own words masked', ({ maskedAsr }) => maskedAsr, 3],
  ['target calls', ({ targetCalls }) => targetCalls, 0],
];

/** Mean over seeds with its interval, and the worst seed. */
function meanAndWorst(values: readonly number[], digits: number): string {
  if (values.length === 0) return '–';
  const mean = interval(meanOverSeeds(values), digits);
  return values.length === 1 ? mean : `${mean}, ${number(Math.min(...values), digits)}`;
}

function attackerTable(results: GroundResults, arm: Whose['arm'] | 'retrained', label = ''): string[][] {
  const pick = (seed: SeedResult) => (arm === undefined ? seed.attackers : seed[arm]);
  return present(results.seeds, pick).map((attacker) => [
    `${attacker}${label}`,
    ...COLUMNS.map(([, figure, digits]) => {
      const values = results.seeds.flatMap((seed) => {
        const figures = pick(seed)?.[attacker];
        return (figures === undefined ? undefined : figure(figures, results.budget)) ?? [];
      });
      return meanAndWorst(values, digits);
    }),
  ]);
}

/** Ours against every other attacker, paired over seeds. */
function pairedTable(results: GroundResults): string {
  const names = Object.keys(FIGURES) as FigureName[];
  const ours: Whose = { attacker: 'smoothing' };
  const others = present(results.seeds, ({ attackers }) => attackers).filter((name) => name !== ours.attacker);
  const rows = others.map((attacker) => [
    `smoothing - ${attacker}`,
    ...names.map((name) => {
      const [treated, control] = pairsOf(results, FIGURES[name], ours, { attacker });
      return interval(pairedDifference(treated, control));
    }),
  ]);
  return table(['paired difference', ...names], rows);
}

function transferTable(seeds: readonly SeedResult[]): string {
  const targets = [...new Set(seeds.flatMap(({ transfer }) => Object.keys(transfer ?? {})))];
  const attackers = present(seeds, ({ transfer }) => Object.assign({}, ...Object.values(transfer ?? {})));
  const cell = (target: string, name: AttackerName): string => {
    const of = (figure: 'asr' | 'wordings', digits: number) =>
      bySeed(seeds, ({ transfer }) => transfer?.[target]?.[name]?.[figure], digits);
    return `${of('asr', 2)} / ${of('wordings', 0)}`;
  };
  const rows = attackers.map((name) => [name, ...targets.map((target) => cell(target, name))]);
  return table(['ASR / wordings of', ...targets], rows);
}

function tunedTable(seeds: readonly SeedResult[]): string {
  const data = present(seeds, ({ tuned }) => tuned);
  const attackers = present(seeds, ({ tuned }) =>
    Object.assign({}, ...Object.values(tuned ?? {}).map(({ asr }) => asr)),
  );
  const rows = attackers.map((name) => [
    name,
    ...data.map((of) => `${bySeed(seeds, ({ tuned }) => tuned?.[of]?.asr[name], 2)}${of === name ? ' *' : ''}`),
  ]);
  const refusals = data.map((of) => bySeed(seeds, ({ tuned }) => tuned?.[of]?.overRefusal, 2));
  return table(['ASR of', ...data.map((name) => `tuned on ${name}`)], [...rows, ['*over-refusal*', ...refusals]]);
}

function goalTable(results: GroundResults): string[] {
  const goals = decideGoals(results);
  if (goals.length === 0) return [];
  const rows = goals.map(({ id, name, goal, measure, verdict }) => [
    id,
    name,
    goal,
    interval(measure),
    String(measure.n),
    `**${verdict}**`,
  ]);
  return [table(['goal', 'figure', 'to reach', 'measured', 'seeds', 'verdict'], rows)];
}

function claimTables(seeds: readonly SeedResult[], isWorld: boolean): [string, string] {
  const claims = decideClaims(seeds, isWorld);
  const verdicts = table(
    ['claim', 'verdict', 'worst component: mean [95%]', 'seeds'],
    claims.map((claim) => [
      `${claim.id}: ${claim.statement}`,
      `**${claim.verdict}**`,
      `${claim.statistic}: ${interval(claim)}`,
      String(claim.seeds),
    ]),
  );
  const components = table(
    ['claim', 'component', 'threshold', 'mean [95%]', 'seeds', 'verdict'],
    claims.flatMap(({ id, components: all }) =>
      all.map((one) => [id, one.name, String(one.threshold), interval(one), String(one.seeds), one.verdict]),
    ),
  );
  return [verdicts, components];
}

/** The results of one ground at one budget as the tables of docs/results.md. */
export function claimsMarkdown(results: GroundResults): string {
  const { seeds } = results;
  const [verdicts, components] = claimTables(seeds, groundNamed(results.ground).kind === 'world');
  const list = seeds.map(({ seed }) => seed).join(', ');
  const has = (pick: (seed: SeedResult) => object | undefined) => seeds.some((seed) => pick(seed) !== undefined);
  const header = ['attacker', ...COLUMNS.map(([title]) => title)];
  const rows = [
    ...attackerTable(results, undefined),
    ...attackerTable(results, 'reference', ', reference loop'),
    ...attackerTable(results, 'today', ', settings before'),
  ];
  return [
    seeds.length === 1
      ? `Seed ${list}, ${results.budget} target calls an attacker.`
      : `Seeds ${list}, ${results.budget} target calls an attacker. Cells: mean [95%], worst seed.`,
    ...goalTable(results),
    verdicts,
    table(header, rows),
    pairedTable(results),
    ...(has(({ transfer }) => transfer)
      ? ['Stored attacks on further targets, the figures of every seed in their order:', transferTable(seeds)]
      : []),
    ...(has(({ tuned }) => tuned)
      ? [
          'Stored attacks on tuned targets (*: the very attacks that it learned to refuse are among them):',
          tunedTable(seeds),
        ]
      : []),
    ...(has(({ retrained }) => retrained)
      ? [
          "Retrained against the target that was tuned on smoothing's attacks:",
          table(header, attackerTable(results, 'retrained')),
        ]
      : []),
    'Every component:',
    components,
  ].join('\n\n');
}

/** Returns `page` with new text between the marks of a ground's results. */
export function fillClaims(page: string, name: string, markdown: string): string {
  const marked = new RegExp(`<!-- claims:${name} -->\\n[\\s\\S]*?<!-- /claims -->`);
  return page.replace(marked, () => `<!-- claims:${name} -->\n\n${markdown}\n\n<!-- /claims -->`);
}
