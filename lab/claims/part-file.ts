import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import { FloodgateError } from '../../src/base/errors.ts';
import { ARMS } from './grounds/ground.ts';
import { type SeedResult, seedResultSchema } from './seed-result.ts';

/** Parts of a seed's measurement: its runs, then what is measured beside them. */
export const PARTS = [...ARMS, 'transfer', 'retrained', 'tuned'] as const;
export type PartName = (typeof PARTS)[number];

/** Stops a wrong file from being parsed as a part. */
const MAX_PART_FILE_BYTES = 4 * 1024 * 1024;

const schema = z.strictObject({
  ground: z.string().min(1).max(64),
  budget: z.int().positive(),
  part: z.enum(PARTS),
  /** Of all that was asked for but the seed, the same on every machine. */
  settingsSha256: z.string().regex(/^[0-9a-f]{64}$/),
  result: seedResultSchema,
});

/** One part of one seed, as its own file holds it beside the runs. */
export type PartFile = Readonly<z.infer<typeof schema>>;

const partPath = (folder: string, part: PartName, seed: number): string => join(folder, `${part}-${seed}.json`);

/** Keeps a part in `folder`. */
export async function writePart(folder: string, file: PartFile): Promise<void> {
  const text = `${JSON.stringify(file)}\n`;
  await writeFileAtomically(partPath(folder, file.part, file.result.seed), (handle) => handle.writeFile(text));
}

/** @throws FloodgateError `format` for a file that is too large, or no part. */
export async function readPart(path: string): Promise<PartFile> {
  const refuse = (why: string, cause?: unknown) =>
    new FloodgateError('format', `${path}: ${why}`, {
      hint: 'give folders in which `npm run lab -- claims` has measured one ground at one budget',
      cause,
    });
  const { size } = await stat(path);
  if (size > MAX_PART_FILE_BYTES) throw refuse(`got ${size} bytes, expected at most ${MAX_PART_FILE_BYTES}`);
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw refuse('this is no part of a measurement', error);
  }
}

/** The kept part of a seed, if there is one. @throws FloodgateError `run` when it was measured with other settings. */
export async function keptPart(
  folder: string,
  wanted: Pick<PartFile, 'part' | 'settingsSha256'> & { readonly seed: number },
): Promise<PartFile | undefined> {
  const path = partPath(folder, wanted.part, wanted.seed);
  if (!existsSync(path)) return undefined;
  const found = await readPart(path);
  if (found.settingsSha256 === wanted.settingsSha256) return found;
  throw new FloodgateError('run', `${path}: it was measured with other settings`, {
    hint: 'choose another --runs-dir, or remove that file and the run beside it',
  });
}

/** Seeds of one ground at one budget. */
export interface GroundResults {
  readonly ground: string;
  readonly budget: number;
  /** By seed. */
  readonly seeds: readonly SeedResult[];
}

const omitUndefined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;

function joined(earlier: SeedResult, later: SeedResult): SeedResult {
  return { ...earlier, ...later, attackers: { ...earlier.attackers, ...later.attackers } };
}

/**
 * The seeds of one ground from folders of one machine or of several, each seed's parts joined.
 *
 * @throws FloodgateError `format` as {@link readPart}; `usage` for parts of different grounds, budgets or settings, and
 * for a part that comes twice.
 */
export async function gatherParts(folders: readonly string[]): Promise<GroundResults> {
  const names = new RegExp(`^(${PARTS.join('|')})-\\d+\\.json$`);
  const paths: string[] = [];
  for (const folder of folders) {
    const files = existsSync(folder) ? await readdir(folder) : [];
    paths.push(...files.filter((name) => names.test(name)).map((name) => join(folder, name)));
  }
  const files = await Promise.all(paths.sort().map(async (path) => ({ path, ...(await readPart(path)) })));
  const [first] = files;
  if (first === undefined) throw new FloodgateError('usage', `claims: nothing was measured in ${folders.join(', ')}`);
  const seeds = new Map<number, SeedResult>();
  const settings = new Map<PartName, string>();
  const seen = new Set<string>();
  for (const { path, ground, budget, part, settingsSha256, result } of files) {
    const refuse = (why: string) =>
      new FloodgateError('usage', `${path}: ${why}`, { hint: 'decide from one ground, budget and set of settings' });
    if (ground !== first.ground || budget !== first.budget)
      throw refuse(`it is of ${ground} at ${budget} calls, unlike the first`);
    const place = `${part} ${result.seed}`;
    if (seen.has(place)) throw refuse(`got ${part} of seed ${result.seed} twice`);
    seen.add(place);
    const agreed = settings.get(part) ?? settingsSha256;
    if (agreed !== settingsSha256) throw refuse(`${part} was measured with other settings than in another seed`);
    settings.set(part, agreed);
    const earlier = seeds.get(result.seed);
    seeds.set(result.seed, omitUndefined(earlier === undefined ? result : joined(earlier, result)));
  }
  const bySeed = [...seeds.values()].sort((a, b) => a.seed - b.seed);
  return { ground: first.ground, budget: first.budget, seeds: bySeed };
}
