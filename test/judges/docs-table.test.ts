import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { openProfanityJudge } from '../../src/judges/profanity-judge.ts';
import { openToxBlockJudge } from '../../src/judges/tox-block-judge.ts';

/** Rows of the table of probes in docs/judges.md: a text and two numbers of three digits. */
function tableRows(): RegExpMatchArray[] {
  const page = readFileSync(new URL('../../docs/judges.md', import.meta.url), 'utf8');
  return [...page.matchAll(/^\| (.*) \| ([01]\.\d{3}) \| ([01]\.\d{3}) \|$/gm)];
}

it('docs/judges.md gives the numbers that the shipped judges give', async () => {
  const rows = tableRows();
  expect(rows).toHaveLength(10);
  const exchanges = rows.map(([, text = '']) => ({ attack: '', response: text.trim() }));
  for (const [column, open] of [openProfanityJudge, openToxBlockJudge].entries()) {
    const judge = await open();
    for (const [i, verdict] of (await judge.score(exchanges)).entries()) {
      if (verdict.kind !== 'scored') throw new Error(verdict.reason);
      expect(Math.abs(verdict.unsafe - Number(rows[i]?.[column + 2]))).toBeLessThan(6e-4); // three digits
    }
    await judge.close();
  }
});
