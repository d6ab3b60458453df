import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { type GroundResults, gatherParts } from '../../lab/claims/part-file.ts';
import { resultsName } from '../../lab/claims/run-claims.ts';
import { claimsMarkdown, fillClaims } from '../../lab/claims/tables.ts';

const page = new URL('../../docs/results.md', import.meta.url);
const data = new URL('../../docs/claims-data/', import.meta.url);

/** Summaries of grounds that were measured, as `npm run lab -- claims` left them. */
const summaries = readdirSync(data).filter((name) => name.endsWith('.json'));

it.each(summaries)('docs/results.md says of %s what its seeds say', (name) => {
  const results = JSON.parse(readFileSync(new URL(name, data), 'utf8')) as GroundResults;
  expect(`${resultsName(results)}.json`).toBe(name);
  const before = readFileSync(page, 'utf8');
  expect(before).toContain(`<!-- claims:${resultsName(results)} -->`);
  const filled = fillClaims(before, resultsName(results), claimsMarkdown(results));
  if (process.env.UPDATE_DOCS) writeFileSync(page, filled);
  else expect(before).toBe(filled);
});

it('no marks in docs/results.md are without a summary', () => {
  const marks = [...readFileSync(page, 'utf8').matchAll(/<!-- claims:(\S+) -->/g)].map(([, name]) => `${name}.json`);
  expect(marks.filter((name) => !summaries.includes(name))).toEqual([]);
});

it('the ten worlds without a learner at 2,000 calls are those of their parts', async () => {
  const parts = await gatherParts([fileURLToPath(new URL('made/2000', data))]);
  expect(parts.seeds).toHaveLength(10);
  const paired = claimsMarkdown(parts).split('\n');
  const said = readFileSync(page, 'utf8')
    .split('\n')
    .map((line) => line.split(' | '));
  for (const [arm, name] of [
    ['covering-smoothing', 'covering draws + smoothing'],
    ['draws-smoothing', 'plain draws + smoothing'],
  ]) {
    const [, ways, asr, area] = paired.find((line) => line.startsWith(`| smoothing - ${arm} |`))?.split(' | ') ?? [];
    const row = said.find((cells) => cells[0] === `| ${name}` && cells[4] === ways);
    expect(row?.[5], `ways of ${arm} ${ways}`).toBe(asr);
    const mean = (cell: string | undefined): number => Number.parseFloat(cell ?? '');
    expect(mean(row?.[6])).toBeCloseTo(mean(area), 1);
  }
});

it('a table has mean and worst seed, and a dash where nothing was measured', () => {
  const ppo = { asr: 0.5, ways: 20, wordings: 40, targetCalls: 100 };
  const markdown = claimsMarkdown({
    ground: 'smollm2',
    budget: 500,
    seeds: [
      { seed: 0, attackers: { ppo }, tuned: { ppo: { asr: { ppo: 0.25 }, overRefusal: 0.125 } } },
      { seed: 2, attackers: { ppo: { ...ppo, asr: 0.625, maskedAsr: 0.0625 } } },
    ],
  });
  expect(markdown).toContain('Seeds 0, 2, 500 target calls an attacker.');
  expect(markdown).toMatch(/\| ppo \| 0\.56 \[[^\]]+\], 0\.50 \| 20\.00 \[20\.00, 20\.00\], 20\.00 \|/);
  expect(markdown).toMatch(/\| – \| 40 \[40, 40\], 40 \| – \| – \| 0\.063 \| 100 \[100, 100\], 100 \|/);
  expect(markdown).toContain('| ASR of | tuned on ppo |');
  expect(markdown).toContain('| ppo | 0.25, – * |');
  expect(markdown).toContain('| *over-refusal* | 0.13, – |');
  expect(markdown).not.toContain('Stored attacks on further');
  expect(fillClaims('a\n<!-- claims:x -->\nold\n<!-- /claims -->\nb', 'x', 'new')).toBe(
    'a\n<!-- claims:x -->\n\nnew\n\n<!-- /claims -->\nb',
  );
});
