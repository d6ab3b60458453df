import { canonicalJson, sha256Of } from '../../src/base/canonical-json.ts';
import { askedSha256 } from '../../src/stages/config/asked-config.ts';
import { type AttackerName, attackersToTrain } from '../../src/stages/config/attacker-names.ts';
import type { Config } from '../../src/stages/config/config-schema.ts';
import { type ClaimWorld, claimConfig } from './claims-configs.ts';
import { CLAIM_TARGETS } from './further-targets.ts';
import type { SeedResult } from './seed-result.ts';

/** Digests (sha256, hex) of what was asked for but the seed, the same on every machine: results that differ in them are no seeds of one experiment. */
export interface SeedSettings {
  /** Of each attacker that was asked for: its own settings, and all that it shares with the others. */
  readonly attackers: Readonly<Partial<Record<AttackerName, string>>>;
  /** Of further and tuned targets; absent where nothing but the attackers was measured. */
  readonly targets?: string | undefined;
}

/** Sections that one attacker reads, and those that are trained from it; every other section counts for all. */
const OWN_SECTIONS = ['icl', 'reinforce', 'ppo'] as const satisfies readonly (AttackerName & keyof Config)[];

async function attackerSha256(world: ClaimWorld, name: AttackerName): Promise<string> {
  const config = await claimConfig({ world, seed: 0 }, [name]);
  const chain = attackersToTrain([name]);
  const strange = OWN_SECTIONS.filter((section) => !chain.includes(section));
  return askedSha256({ ...config, ...Object.fromEntries(strange.map((section) => [section, undefined])) });
}

/** Digests of what this program measures when asked for these attackers, and for the parts that `result` has. */
export async function settingsOf(
  world: ClaimWorld,
  names: readonly AttackerName[],
  result: SeedResult,
): Promise<SeedSettings> {
  const digests = await Promise.all(names.map(async (name) => [name, await attackerSha256(world, name)] as const));
  const attackers = Object.fromEntries(digests);
  const { transfer, retrained, tuned } = result;
  if (transfer === undefined && retrained === undefined && tuned === undefined) return { attackers };
  return { attackers, targets: sha256Of(canonicalJson(CLAIM_TARGETS[world])) };
}
