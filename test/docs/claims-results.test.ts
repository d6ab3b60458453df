import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { CLAIM_WORLDS } from '../../lab/claims/claims-configs.ts';
import { gatherSeedFiles } from '../../lab/claims/gather-seeds.ts';
import { claimsMarkdown, fillClaims } from '../../lab/claims/tables.ts';

const page = new URL('../../docs/results.md', import.meta.url);

/** Results of seeds that were measured, as `npm run lab -- claims` left them. */
function seedFiles(world: string): string[] {
  const folder = new URL(`../../docs/claims-data/${world}/`, import.meta.url);
  return existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((name) => fileURLToPath(new URL(name, folder)))
    : [];
}

it.each(CLAIM_WORLDS.filter((world) => seedFiles(world).length > 0))(
  "docs/results.md says of %s what its seeds' results say",
  async (world) => {
    const { seeds, world: measured } = await gatherSeedFiles(seedFiles(world));
    expect(measured).toBe(world);
    const text = readFileSync(page, 'utf8');
    expect(text).toContain(`<!-- claims:${world} -->`);
    const filled = fillClaims(text, world, claimsMarkdown(seeds, world === 'proving-ground'));
    if (process.env.UPDATE_DOCS) writeFileSync(page, filled);
    else expect(text).toBe(filled);
  },
);

it('a table has a figure for every seed, and a dash where a seed has none', () => {
  const ppo = { asr: 0.5, uniqueAttacks: 20, ways: 20, targetCalls: 100 };
  const markdown = claimsMarkdown(
    [
      { seed: 0, attackers: { ppo }, tuned: { ppo: { asr: { ppo: 0.25 }, overRefusal: 0.125 } } },
      { seed: 2, attackers: { ppo: { ...ppo, asr: 0.625, maskedAsr: 0.0625 } } },
    ],
    false,
  );
  expect(markdown).toContain('Seeds 0, 2, in this order');
  expect(markdown).toContain('| ppo | 0.50, 0.63 | 20, 20 | –, 0.063 | –, – | 100, 100 |');
  expect(markdown).toContain('| ASR of | tuned on ppo |');
  expect(markdown).toContain('| ppo | 0.25, – * |');
  expect(markdown).toContain('| *over-refusal* | 0.13, – |');
  expect(markdown).not.toContain('Stored attacks on further');
  expect(fillClaims('a\n<!-- claims:x -->\nold\n<!-- /claims -->\nb', 'x', 'new')).toBe(
    'a\n<!-- claims:x -->\n\nnew\n\n<!-- /claims -->\nb',
  );
});
