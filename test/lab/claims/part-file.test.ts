import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  gatherParts,
  keptPart,
  type PartFile,
  type PartName,
  readPart,
  writePart,
} from '../../../lab/claims/part-file.ts';
import type { SeedResult } from '../../../lab/claims/seed-result.ts';
import { lab } from '../lab-runner.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-parts-'));
});
afterAll(() => rm(folder, { recursive: true }));

let made = 0;
async function newFolder(): Promise<string> {
  const own = join(folder, `folder-${made++}`);
  await mkdir(own);
  return own;
}

const sha = (digit: string): string => digit.repeat(64);

const OURS = {
  gflownet: { asr: 0.8, ways: 0.7, wordings: 80, targetCalls: 500, foundAt: [10, 40] },
  smoothing: { asr: 0.9, ways: 0.8, wordings: 70, targetCalls: 500, foundAt: [10, 40], errors: { asr: 0.01 } },
} satisfies SeedResult['attackers'];
const PPO = { ppo: { asr: 0.5, ways: 0.2, wordings: 20, targetCalls: 500 } } satisfies SeedResult['attackers'];

const part = (name: PartName, seed: number, result: Partial<SeedResult>, change: Partial<PartFile> = {}): PartFile => ({
  ground: 'made',
  budget: 500,
  part: name,
  settingsSha256: sha('a'),
  result: { seed, attackers: {}, ...result },
  ...change,
});

async function keep(own: string, ...parts: readonly PartFile[]): Promise<string> {
  for (const each of parts) await writePart(own, each);
  return own;
}

describe('parts of seeds', () => {
  it('come back joined, in the order of seeds, from one folder or several', async () => {
    const reference = { gflownet: { ...OURS.gflownet, foundAt: [100, 400] } };
    const parts = [
      part('ours', 1, { attackers: OURS, ownWeights: 'smoothing-uniform' }),
      part('baselines', 1, { attackers: PPO }),
      part('reference', 1, { reference }),
      part('ours', 0, { attackers: OURS }),
      part('transfer', 0, { transfer: { other: { smoothing: { asr: 0.2, wordings: 4 } } } }),
    ];
    const expected = {
      ground: 'made',
      budget: 500,
      seeds: [
        { seed: 0, attackers: OURS, transfer: { other: { smoothing: { asr: 0.2, wordings: 4 } } } },
        { seed: 1, attackers: { ...OURS, ...PPO }, ownWeights: 'smoothing-uniform', reference },
      ],
    };
    const one = await keep(await newFolder(), ...parts);
    await writeFile(join(one, 'notes.json'), 'not a part');
    expect(await gatherParts([one])).toEqual(expected);
    const [here, there] = [
      await keep(await newFolder(), ...parts.slice(0, 2)),
      await keep(await newFolder(), ...parts.slice(2)),
    ];
    expect(await gatherParts([here, there])).toEqual(expected);
  });

  it('are refused when they are no seeds of one experiment', async () => {
    const base = await keep(await newFolder(), part('ours', 0, { attackers: OURS }));
    const beside = async (other: PartFile) => gatherParts([base, await keep(await newFolder(), other)]);
    await expect(beside(part('ours', 1, {}, { ground: 'smollm2' }))).rejects.toThrow(/of smollm2 at 500 calls/);
    await expect(beside(part('ours', 1, {}, { budget: 2000 }))).rejects.toThrow(/of made at 2000 calls/);
    await expect(beside(part('ours', 0, {}))).rejects.toThrow(/got ours of seed 0 twice/);
    await expect(beside(part('ours', 1, {}, { settingsSha256: sha('b') }))).rejects.toThrow(
      /ours was measured with other settings/,
    );
    expect((await beside(part('baselines', 1, {}, { settingsSha256: sha('b') }))).seeds).toHaveLength(2);
    await expect(gatherParts([join(folder, 'none')])).rejects.toThrow(/nothing was measured in/);
  });

  it('are kept for the same settings only', async () => {
    const own = await keep(await newFolder(), part('ours', 3, { attackers: OURS }));
    const wanted = { part: 'ours', seed: 3, settingsSha256: sha('a') } as const;
    expect((await keptPart(own, wanted))?.result.attackers).toEqual(OURS);
    expect(await keptPart(own, { ...wanted, seed: 4 })).toBeUndefined();
    await expect(keptPart(own, { ...wanted, settingsSha256: sha('b') })).rejects.toMatchObject({
      code: 'run',
      message: expect.stringContaining('it was measured with other settings'),
    });
  });

  it('are refused when they are too large, torn, or hold what no claim measures', async () => {
    const own = await keep(await newFolder(), part('ours', 0, { attackers: OURS }));
    const path = join(own, 'ours-0.json');
    const text = await readFile(path, 'utf8');
    const bad: Readonly<Record<string, string>> = {
      large: text.padEnd(4 * 1024 * 1024 + 1),
      torn: text.slice(0, -20),
      high: text.replace('"asr":0.9', '"asr":1.9'),
      stranger: text.replace('"smoothing":', '"stranger":'),
      more: text.replace('"seed":0', '"seed":0,"more":1'),
      early: text.replace('[10,40]', '[0,40]'),
    };
    for (const [name, content] of Object.entries(bad)) {
      expect(content, name).not.toBe(text);
      await writeFile(path, content);
      await expect(readPart(path), name).rejects.toMatchObject({
        code: 'format',
        message: expect.stringContaining(path),
      });
    }
  });

  it('are decided by the command without a run, and summaries, tables and plots are written', async () => {
    const own = await newFolder();
    for (const seed of [0, 1]) {
      await keep(own, part('ours', seed, { attackers: OURS }), part('baselines', seed, { attackers: PPO }));
    }
    const decided = await lab(['claims', '--json', '--from', own]);
    expect(decided.code, decided.stdout).toBe(0);
    const { claims, goals } = JSON.parse(decided.stdout)['made-500'];
    expect(claims.find(({ id }: { id: string }) => id === 'C1')).toMatchObject({
      seeds: 2,
      value: expect.closeTo(0.75, 12),
    });
    expect(goals).toMatchObject([{ id: 'G6', verdict: 'not measured' }]);
    const output = join(folder, 'new', 'decided');
    const written = await lab(['claims', '--output', output, '--from', own]);
    expect(written.stdout).toContain(join(output, 'made-500.md'));
    expect(await readFile(join(output, 'made-500.md'), 'utf8')).toContain('Seeds 0, 1, 500 target calls an attacker.');
    expect(await readFile(join(output, 'made-500-ways-by-area.svg'), 'utf8')).toContain('>smoothing</text>');
    expect(JSON.parse(await readFile(join(output, 'made-500.json'), 'utf8')).seeds).toHaveLength(2);
    expect((await lab(['claims', '--seeds', '2', '--from', own])).code).toBe(2);
    expect((await lab(['claims', '--ground', 'mars'])).code).toBe(2);
  });
});
