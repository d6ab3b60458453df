import { FloodgateError } from '../../src/base/errors.ts';
import type { AttackerName } from '../attackers.ts';
import type { ClaimWorld } from './claims-configs.ts';
import { readSeedFile, type SeedFile, type SeedSettings } from './seed-file.ts';
import type { SeedResult } from './seed-result.ts';

interface FoundFile extends SeedFile {
  readonly path: string;
}

const otherSettings = (path: string, of: string) =>
  new FloodgateError('usage', `${path}: ${of} measured with other settings, unlike in the files before it`, {
    hint: 'decide from seeds that were measured in one world with the same settings',
  });

type Rows<T> = Readonly<Partial<Record<AttackerName, T>>>;

function without<T>(rows: Rows<T>, name: AttackerName): Rows<T> {
  const { [name]: _dropped, ...kept } = rows;
  return kept as Rows<T>;
}

/** The result as if `name` had not been measured: nor its stored attacks elsewhere, nor the target tuned on them. */
function withoutAttacker(result: SeedResult, name: AttackerName): SeedResult {
  const { attackers, transfer = {}, tuned = {}, retrained, ...rest } = result;
  const further = Object.entries(transfer).map(([target, row]) => [target, without(row, name)]);
  const targets = Object.entries(without(tuned, name)).map(([data, { asr, errors, ...row }]) => [
    data,
    {
      ...row,
      asr: without(asr, name),
      ...(errors === undefined ? {} : { errors: { ...errors, asr: without(errors.asr, name) } }),
    },
  ]);
  return {
    ...rest,
    attackers: without(attackers, name),
    ...(result.transfer === undefined ? {} : { transfer: Object.fromEntries(further) }),
    ...(result.tuned === undefined ? {} : { tuned: Object.fromEntries(targets) }),
    ...(retrained === undefined || name in retrained ? {} : { retrained }),
  };
}

/** Both transfer matrices in one. */
function joinedCells(earlier: SeedResult['transfer'], later: SeedResult['transfer']): SeedResult['transfer'] {
  if (earlier === undefined || later === undefined) return earlier ?? later;
  const targets = [...new Set([...Object.keys(earlier), ...Object.keys(later)])];
  return Object.fromEntries(targets.map((target) => [target, { ...earlier[target], ...later[target] }]));
}

const omitUndefined = <T extends object>(value: T): T =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;

/** A seed that two files share: the later one's attackers replace those that the earlier has with other settings. */
function joined(earlier: FoundFile, later: FoundFile): FoundFile {
  const ours = earlier.settingsSha256;
  const theirs = later.settingsSha256;
  let kept: SeedResult = earlier.result;
  for (const name of Object.keys(theirs.attackers) as AttackerName[]) {
    if (ours.attackers[name] === theirs.attackers[name]) {
      throw new FloodgateError(
        'usage',
        `${later.path}: got ${name} of seed ${kept.seed} twice with the same settings`,
        {
          hint: 'leave one of the files out',
        },
      );
    }
    kept = withoutAttacker(kept, name);
  }
  if (ours.targets !== undefined && theirs.targets !== undefined && ours.targets !== theirs.targets) {
    throw otherSettings(later.path, 'further or tuned targets were');
  }
  const { result } = later;
  const tuned = kept.tuned ?? result.tuned;
  return {
    path: later.path,
    world: earlier.world,
    settingsSha256: omitUndefined({
      attackers: { ...ours.attackers, ...theirs.attackers },
      targets: ours.targets ?? theirs.targets,
    }),
    result: omitUndefined({
      ...kept,
      ownWeights: kept.ownWeights ?? result.ownWeights,
      attackers: { ...kept.attackers, ...result.attackers },
      transfer: joinedCells(kept.transfer, result.transfer),
      tuned: tuned === undefined ? undefined : { ...tuned, ...result.tuned },
      retrained: kept.retrained ?? result.retrained,
    }),
  };
}

/** The settings that all seeds so far agree on. @throws FloodgateError `usage` where this one does not. */
function agreed(before: SeedSettings, { path, settingsSha256: { attackers, targets } }: FoundFile): SeedSettings {
  for (const [name, digest] of Object.entries(attackers) as [AttackerName, string][]) {
    if ((before.attackers[name] ?? digest) !== digest) throw otherSettings(path, `${name} was`);
  }
  if ((before.targets ?? targets) !== (targets ?? before.targets)) {
    throw otherSettings(path, 'further or tuned targets were');
  }
  return { attackers: { ...before.attackers, ...attackers }, targets: before.targets ?? targets };
}

/**
 * The seeds of one experiment from files of several folders or machines, by seed. Files of the same seed are joined:
 * attackers that were measured again with other settings replace the earlier ones.
 *
 * @throws FloodgateError `format` as {@link readSeedFile}; `usage` for files of different worlds or settings, and for an attacker that comes twice.
 */
export async function gatherSeedFiles(
  paths: readonly string[],
): Promise<{ readonly world: ClaimWorld; readonly seeds: readonly SeedResult[] }> {
  const files = await Promise.all(paths.map(async (path) => ({ path, ...(await readSeedFile(path)) })));
  const [first] = files;
  if (first === undefined) throw new FloodgateError('usage', 'claims: got no file, expected at least one --from');
  const bySeed = new Map<number, FoundFile>();
  for (const file of files) {
    if (file.world !== first.world) {
      throw new FloodgateError('usage', `${file.path}: it was measured in the world ${file.world}, unlike the first`, {
        hint: 'decide the claims of one world at a time',
      });
    }
    const { seed } = file.result;
    const earlier = bySeed.get(seed);
    bySeed.set(seed, earlier === undefined ? file : joined(earlier, file));
  }
  const whole = [...bySeed.values()];
  whole.reduce(agreed, { attackers: {} });
  return { world: first.world, seeds: whole.map(({ result }) => result).sort((a, b) => a.seed - b.seed) };
}
