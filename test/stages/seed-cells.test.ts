import { expect, test } from 'vitest';
import type { EventRecord } from '../../src/runs/store/records.ts';
import { seedCells } from '../../src/stages/seed-cells.ts';
import type { Campaign } from '../../src/stages/stage.ts';

/** Counts of the letters a, b and c of a text, L2-normalised. */
const embed = (texts: readonly string[]): Float32Array =>
  Float32Array.from(
    texts.flatMap((text) => {
      const counts = [...'abc'].map((letter) => text.split(letter).length - 1);
      const norm = Math.hypot(counts[0] ?? 0, counts[1] ?? 0, counts[2] ?? 0);
      return counts.map((count) => count / norm);
    }),
  );

const CELLS = [
  { name: 'first', text: 'aaa' },
  { name: 'second', text: 'bbb' },
  { name: 'third', text: 'ccc' },
];

function campaignWith(attacks: readonly string[], cells?: readonly (string | undefined)[], ofAttacker = CELLS) {
  const info = new Map<string, string>();
  const events: EventRecord[] = [];
  let asked = 0;
  const campaign = {
    attacker: { spec: { cells: ofAttacker }, cells: ofAttacker.map(({ name }) => name) },
    seeds: { attacks, ...(cells === undefined ? {} : { cells }) },
    encoder: {
      embed: async (texts: readonly string[]) => {
        asked += texts.length;
        return embed(texts);
      },
    },
    store: {
      info: (key: string) => info.get(key),
      setInfo: (key: string, value: string) => void info.set(key, value),
      recordEvent: (event: EventRecord) => void events.push(event),
    },
  } as unknown as Campaign;
  return { campaign, events, asked: () => asked };
}

test('a seed is of the cell that the file names, else of the one whose text is nearest', async () => {
  const seeds = ['bba', 'bcc', 'ccb', 'aab'];
  const { campaign, events } = campaignWith(seeds, ['first', undefined, undefined, undefined]);
  const cellOf = await seedCells(campaign);
  expect(seeds.map((text) => cellOf(text).cell)).toEqual(['first', 'third', 'third', 'first']);
  expect(events).toMatchObject([{ level: 'warning', code: 'cells-without-seeds' }]);
  expect(events[0]?.message).toContain('no seed is of the cells second:');
});

test('without a column every seed goes to the nearest cell; a cell with seeds is not warned of', async () => {
  const { campaign, events } = campaignWith(['ab b', 'aac', 'ccc']);
  const cellOf = await seedCells(campaign);
  expect(['ab b', 'aac', 'ccc'].map((text) => cellOf(text).cell)).toEqual(['second', 'first', 'third']);
  expect(events).toEqual([]);
});

test('the cells are kept: another opening asks no encoder and warns no more', async () => {
  const { campaign, events, asked } = campaignWith(['aab']);
  await seedCells(campaign);
  const before = asked();
  const cellOf = await seedCells(campaign);
  expect(cellOf('aab')).toEqual({ cell: 'first' });
  expect(asked()).toBe(before);
  expect(events).toHaveLength(1);
});

test('an attacker without cells gives a seed none', async () => {
  const { campaign } = campaignWith(['aab']);
  const plain = { ...campaign, attacker: { spec: {}, cells: [undefined] } } as unknown as Campaign;
  expect((await seedCells(plain))('aab')).toEqual({});
});
