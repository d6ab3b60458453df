import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findAttackerFolder } from '../../src/runs/attacker-folder.ts';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openServedAttacker, openServedExport, type ServedModel } from '../../src/serve/served-model.ts';
import { cli } from '../cli/cli-runner.ts';
import { serveForTest } from '../serve/served.ts';
import { contentDifferences, readRunContent } from '../stages/run-content.ts';
import { type AttackerRuns, createAttackerRuns } from './attacker-runs.ts';

const STAGES = ['sft', 'gflownet', 'smoothing'] as const;

let runs: AttackerRuns;
const out = (stage: string): string => runs.at(`out-${stage}`);

beforeAll(async () => {
  runs = await createAttackerRuns();
  for (const stage of STAGES) {
    const exported = await runs.attacker('export', 'first', '--stage', stage, '--out', out(stage));
    expect(exported.stderr).not.toContain('error');
    const base = runs.at('attacker');
    const imported = await runs.attacker('import', out(stage), '--name', `from-${stage}`, '--base', base);
    expect({ ...imported, stdout: '', stderr: '' }).toEqual({ code: 0, stdout: '', stderr: '' });
  }
});
afterAll(() => runs.remove());

const folderOf = async (name: string) => {
  const folder = await findAttackerFolder(name, runs.tiny.runsFolder);
  if (folder === undefined) throw new Error(`no attacker ${name}`);
  return folder;
};

/** Attacks and log-probs as a client of OpenAI's interface gets them; 12 of seed 3, and 2 begun with a word. */
async function answersOf(model: ServedModel): Promise<unknown> {
  const served = await serveForTest(model);
  try {
    const body = { model: model.id, seed: 3 } as const;
    const chat = await served.client.chat.completions.create({
      ...body,
      n: 12,
      logprobs: true,
      messages: [{ role: 'user', content: 'attack' }],
    });
    const text = await served.client.completions.create({ ...body, prompt: 'so', n: 2, logprobs: 1 });
    return { chat: chat.choices, text: text.choices, usage: [chat.usage, text.usage] };
  } finally {
    await served.close();
  }
}

describe.each(STAGES)('an attacker of %s', (stage) => {
  it('that was imported is served as the run’s own, to the last bit', async () => {
    const own = await answersOf(await openServedAttacker({ folder: runs.first, stage }, runs.tiny.io()));
    const imported = await answersOf(await openServedExport(await folderOf(`attacker:from-${stage}`), runs.tiny.io()));
    expect(imported).toEqual(own);
    if (stage === 'sft') return;
    // not those of any attacker: the stages differ
    const sft = await answersOf(await openServedExport(await folderOf('from-sft'), runs.tiny.io()));
    expect(imported).not.toEqual(sft);
  });

  it('starts a run that equals one which starts from the run itself', async () => {
    const attackers = 'attackers=[sft,gflownet]';
    const own = await runs.start(`own-${stage}`, ['attacker.from=run:first', `attacker.fromStage=${stage}`, attackers]);
    const imported = await runs.start(`imported-${stage}`, [`attacker.from=attacker:from-${stage}`, attackers]);
    expect(contentDifferences(contentOf(own), contentOf(imported))).toEqual([]);
  });
});

const contentOf = ({ path: folder }: RunFolder) => readRunContent(folder);

describe('floodgate sample', () => {
  const sample = async (...args: string[]) => {
    const place = ['--runs-dir', runs.tiny.runsFolder, '--cache-dir', runs.tiny.io().cacheDir as string];
    const { code, stdout, stderr } = await cli(['sample', ...args, '--count', '70', '--json', ...place]);
    return { code, stderr, stdout, ...(code === 0 ? JSON.parse(stdout) : {}) };
  };

  it('writes from an imported attacker what it writes from its run, by name and by the path of its folder', async () => {
    const own = await sample('first', '--stage', 'gflownet');
    expect(own).toMatchObject({ code: 0, run: 'first', stage: 'gflownet' });
    expect(own.attacks).toHaveLength(70);
    const imported = await sample('attacker:from-gflownet');
    expect(imported).toMatchObject({ code: 0, attacker: 'from-gflownet' });
    expect(imported.attacks).toEqual(own.attacks);
    const seeded = await sample('from-gflownet', '--seed', '3', '--temperature', '0.5');
    expect(seeded.attacks).toEqual(
      (await sample('first', '--stage', 'gflownet', '--seed', '3', '--temperature', '0.5')).attacks,
    );
    expect(seeded.attacks).not.toEqual(own.attacks);
    expect(await sample(path.join(runs.tiny.runsFolder, 'from-sft'))).toMatchObject({ code: 0, attacker: 'from-sft' });
  });

  it('refuses a stage of an imported attacker, and names that are not there', async () => {
    const staged = await sample('attacker:from-sft', '--stage', 'sft');
    expect(staged).toMatchObject({ code: 2, stdout: expect.stringContaining('--stage needs a run') });
    expect((await sample('attacker:nobody')).stdout).toContain('no imported attacker');
    expect((await sample('nobody')).stdout).toContain('no such run');
    expect((await sample('run:from-sft')).stdout).toContain('no such run');
  });
});

describe('attacker.from', () => {
  it('takes the stage sft where none is named, as before', async () => {
    const plain = await runs.start('plain', ['attacker.from=run:first', 'attackers=[sft,gflownet]']);
    const named = path.join(runs.tiny.runsFolder, 'own-sft');
    expect(contentDifferences(readRunContent(named), contentOf(plain))).toEqual([]);
  });

  it('takes the folder of an exported attacker by its path', async () => {
    const plain = await runs.start('by-path', [`attacker.from=${out('gflownet')}`, 'attackers=[sft]']);
    const own = await runs.start('by-run', ['attacker.from=attacker:from-gflownet', 'attackers=[sft]']);
    expect(contentDifferences(contentOf(own), contentOf(plain))).toEqual([]);
  });

  it.each<[string, readonly string[], RegExp]>([
    ['another alpha', ['attacker.lora.alpha=16'], /rank 8 and alpha 16, expected its 8 and 8/],
    ['another rank', ['attacker.lora.rank=4'], /rank 4 and alpha 8, expected its 8 and 8/],
    ['other projections', ['attacker.lora.targets=[q_proj]'], /other tensors than this attacker/],
    ['every weight', ['attacker.method=full'], /attacker.method is full, expected lora/],
    ['a stage of a run', ['attacker.fromStage=sft'], /fromStage is for a run/],
    ['a name that is not there', ['attacker.from=attacker:nobody'], /no imported attacker/],
    ['a run of that name', ['attacker.from=run:from-sft'], /no such run/],
  ])('refuses %s', async (name, overrides, message) => {
    const all = ['attacker.from=attacker:from-sft', ...overrides];
    await expect(runs.start(name.replaceAll(' ', '-'), all)).rejects.toThrow(message);
  });

  it.each<[string, readonly string[], RegExp]>([
    // The scale is alpha / rank: the same weights would write other attacks, without a word.
    ['another alpha', ['attacker.lora.alpha=16'], /rank 8 and alpha 16, expected its 8 and 8/],
    ['another rank', ['attacker.lora.rank=4'], /rank 4 and alpha 8, expected its 8 and 8/],
    [
      'another alpha at a later stage',
      ['attacker.lora.alpha=4', 'attacker.fromStage=gflownet'],
      /alpha 4, expected its/,
    ],
  ])('refuses %s than that of a run', async (name, overrides, message) => {
    const all = ['attacker.from=run:first', ...overrides];
    await expect(runs.start(`run-${name.replaceAll(' ', '-')}`, all)).rejects.toThrow(message);
  });

  it('names the settings that fit', async () => {
    await expect(runs.start('hinted', ['attacker.from=run:first', 'attacker.lora.alpha=16'])).rejects.toMatchObject({
      code: 'config',
      hint: 'attacker: { lora: { rank: 8, alpha: 8 } }',
    });
  });
});

describe('a folder', () => {
  it('that was imported holds the files of the exported one, and where the base is', async () => {
    const place = path.join(runs.tiny.runsFolder, 'from-gflownet');
    const names = (await readdir(out('gflownet'))).sort();
    expect(names).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'floodgate-attacker.json']);
    expect((await readdir(place)).sort()).toEqual([...names, 'imported.json'].sort());
    for (const name of names)
      expect(await readFile(path.join(place, name)), name).toEqual(await readFile(path.join(out('gflownet'), name)));
  });

  it('is exported again with the same bytes', async () => {
    await runs.attacker('export', 'first', '--stage', 'gflownet', '--out', runs.at('again'));
    for (const name of await readdir(out('gflownet')))
      expect(await readFile(runs.at('again', name)), name).toEqual(await readFile(path.join(out('gflownet'), name)));
  });
});
