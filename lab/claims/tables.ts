import { ATTACKERS, type AttackerName } from '../attackers.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import type { AttackerFigures, SeedResult } from './seed-result.ts';

const number = (value: number | null | undefined, digits: number): string =>
  value == null ? '–' : value.toFixed(digits);

const interval = ({ value, low, high }: Pick<DecidedClaim, 'value' | 'low' | 'high'>): string =>
  low === null || high === null ? number(value, 3) : `${number(value, 3)} [${number(low, 3)}, ${number(high, 3)}]`;

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

type Row = 'attackers' | 'retrained';

function attackerTable(seeds: readonly SeedResult[], part: Row): string {
  const columns: readonly (readonly [string, (figures: AttackerFigures) => number | undefined, number])[] = [
    ['ASR', ({ asr }) => asr, 2],
    ['unique attacks', ({ uniqueAttacks }) => uniqueAttacks, 0],
    ['ASR, own words masked', ({ maskedAsr }) => maskedAsr, 3],
    ['cosine distance', ({ cosineDistance }) => cosineDistance, 2],
    ['target calls', ({ targetCalls }) => targetCalls, 0],
  ];
  const rows = present(seeds, (seed) => seed[part]).map((name) => [
    name,
    ...columns.map(([, pick, digits]) =>
      bySeed(
        seeds,
        (seed) => {
          const figures = seed[part]?.[name];
          return figures === undefined ? undefined : pick(figures);
        },
        digits,
      ),
    ),
  ]);
  return table(['attacker', ...columns.map(([title]) => title)], rows);
}

function transferTable(seeds: readonly SeedResult[]): string {
  const targets = [...new Set(seeds.flatMap(({ transfer }) => Object.keys(transfer ?? {})))];
  const attackers = present(seeds, ({ transfer }) => Object.assign({}, ...Object.values(transfer ?? {})));
  const cell = (target: string, name: AttackerName): string => {
    const of = (figure: 'asr' | 'uniqueAttacks', digits: number) =>
      bySeed(seeds, ({ transfer }) => transfer?.[target]?.[name]?.[figure], digits);
    return `${of('asr', 2)} / ${of('uniqueAttacks', 0)}`;
  };
  const rows = attackers.map((name) => [name, ...targets.map((target) => cell(target, name))]);
  return table(['ASR / unique attacks of', ...targets], rows);
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

/** The results of seeds as the tables of docs/results.md; a cell lists the seeds' figures in their order. */
export function claimsMarkdown(seeds: readonly SeedResult[], isWorld: boolean): string {
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
  const list = seeds.map(({ seed }) => seed).join(', ');
  const has = (pick: (seed: SeedResult) => object | undefined) => seeds.some((seed) => pick(seed) !== undefined);
  return [
    seeds.length === 1 ? `Seed ${list}.` : `Seeds ${list}, in this order wherever a cell holds several figures.`,
    verdicts,
    attackerTable(seeds, 'attackers'),
    ...(has(({ transfer }) => transfer) ? ['Stored attacks on further targets:', transferTable(seeds)] : []),
    ...(has(({ tuned }) => tuned)
      ? [
          'Stored attacks on tuned targets (*: the very attacks that it learned to refuse are among them):',
          tunedTable(seeds),
        ]
      : []),
    ...(has(({ retrained }) => retrained)
      ? ["Retrained against the target that was tuned on smoothing's attacks:", attackerTable(seeds, 'retrained')]
      : []),
    'Every component:',
    components,
  ].join('\n\n');
}

/** Returns `page` with new text between the marks of a world's claims. */
export function fillClaims(page: string, world: string, markdown: string): string {
  const marked = new RegExp(`<!-- claims:${world} -->\\n[\\s\\S]*?<!-- /claims -->`);
  return page.replace(marked, () => `<!-- claims:${world} -->\n\n${markdown}\n\n<!-- /claims -->`);
}
