import { appendFile, cp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openJudge } from '../../src/judges/registry.ts';
import { createOpenModels } from '../../src/models/open-models.ts';
import { type Manifest, readManifest } from '../../src/runs/manifest.ts';
import { type RunFolder, runStatus } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { resumeRun, startRun } from '../../src/stages/campaign/run-campaign.ts';
import { testPath } from '../support/golden-file.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
const at = (...parts: string[]): string => path.join(tiny.folder, ...parts);
const copyModel = (name: string, to: string) => cp(testPath('fixtures', 'models', name), at(to), { recursive: true });

async function editJson(file: string, change: (json: Record<string, unknown>) => void): Promise<void> {
  const json = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  change(json);
  await writeFile(file, JSON.stringify(json));
}

afterEach(() => expect(liveSessionLabels()).toEqual([]));

describe('the files of a model', () => {
  beforeEach(async () => {
    tiny = await createTinyCampaign();
  });
  afterEach(() => tiny.remove());
  const models = () => createOpenModels({ cacheDir: at('cache'), threads: 1 });

  it('count whole: config, tokenizer and template change the digest, and the weights alone their own', async () => {
    const read = async () => {
      const { sha256, filesSha256 } = await models().openDecoder(at('attacker'), 'attacker');
      return { sha256, filesSha256 };
    };
    const seen = [await read()];
    const config = at('attacker', 'config.json');
    await editJson(config, (json) => Object.assign(json, { rms_norm_eps: 0.5 }));
    seen.push(await read());
    await editJson(at('attacker', 'tokenizer_config.json'), (json) => Object.assign(json, { extra: 1 }));
    seen.push(await read());
    await appendFile(at('attacker', 'tokenizer.json'), '\n');
    seen.push(await read());
    await writeFile(at('attacker', 'chat_template.jinja'), '{{ messages[0].content }}');
    seen.push(await read());
    expect(new Set(seen.map(({ filesSha256 }) => filesSha256)).size).toBe(5);
    expect(new Set(seen.map(({ sha256 }) => sha256)).size).toBe(1);
    expect(await read()).toEqual(seen.at(-1));
  });

  it('of an ONNX model include data that the file keeps elsewhere, whatever its name', async () => {
    await copyModel('onnx-encoder', 'onnx');
    const read = async () => {
      const { encoder, entry } = await models().openEncoder(at('onnx'), 'cpu');
      await encoder.close();
      return entry;
    };
    const before = await read();
    await writeFile(at('onnx', 'unrelated.bin'), 'x');
    expect(await read()).toEqual(before);
    // A tensor's data elsewhere is the pair (location, path); here as a note that the runtime does not read.
    const pair = Buffer.concat([
      Buffer.from([0x0a, 8]),
      Buffer.from('location'),
      Buffer.from([0x12, 9]),
      Buffer.from('heavy.bin'),
    ]);
    const entry = Buffer.concat([Buffer.from([0x72, pair.length]), pair]); // ModelProto.metadata_props
    await appendFile(at('onnx', 'model.onnx'), entry);
    await writeFile(at('onnx', 'heavy.bin'), 'one');
    const one = await read();
    await writeFile(at('onnx', 'heavy.bin'), 'two');
    const two = await read();
    expect(two.sha256).toBe(one.sha256);
    expect(two.filesSha256).not.toBe(one.filesSha256);
  });

  it('of judges are told by the judge, inside others too', async () => {
    await copyModel('bert-classifier', 'clf');
    const { labels = [] } = await models()
      .judges.openTextClassifier({
        model: at('clf'),
        activation: 'softmax',
        labels: undefined,
        device: 'cpu',
      })
      .then(async (opened) => {
        await opened.close();
        return opened;
      });
    const classifier = { kind: 'classifier', model: at('clf'), unsafeLabels: [labels[0]] };
    const guard = { kind: 'guard', model: at('attacker'), format: 'llama-guard-3' };
    const members = [
      { judge: { kind: 'masked', judge: classifier } },
      { judge: guard },
      { judge: { kind: 'profanity' } },
    ];
    const judge = await openJudge({ kind: 'ensemble', members }, { models: models().judges });
    await judge.close();
    expect(judge.models?.map(({ spec }) => spec)).toEqual([at('clf'), at('attacker')]);
    for (const { sha256, filesSha256 } of judge.models ?? []) {
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      expect(filesSha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });
});

describe('the manifest of a run with a classifier judge', () => {
  let folder: RunFolder;
  let manifest: Manifest;
  const judgeName = 'rude words';

  beforeAll(async () => {
    tiny = await createTinyCampaign();
    await copyModel('bert-classifier', 'clf');
    const { id2label } = JSON.parse(await readFile(at('clf', 'config.json'), 'utf8')) as {
      id2label: Record<string, string>;
    };
    const judge = { kind: 'classifier', name: judgeName, model: './clf', unsafeLabels: [id2label['0']] };
    const config = tiny.config([
      `judges.evaluation=${JSON.stringify([judge])}`,
      'attackers=[sft]',
      'sft.updates=2',
      'sft.warmupUpdates=0',
      'evaluation={attacks: 4, responses: 1, controls: 0, causes: { clusters: 0 }}',
    ]);
    folder = await startRun({ config, runsFolder: tiny.runsFolder, name: 'judged', ifTaken: 'refuse' }, tiny.io());
    manifest = await readManifest(folder.manifestPath);
  });
  afterAll(() => tiny.remove());

  async function warningsAfterResume(): Promise<string[]> {
    await resumeRun(folder, tiny.io());
    const store = await openStore(folder.databasePath, { readOnly: true });
    try {
      return store.events().flatMap(({ code, message }) => (code === 'resumed-differently' ? [message] : []));
    } finally {
      store.close();
    }
  }

  it("names every model, the judge's too, by its weights and by all its files", () => {
    expect(manifest.models.map(({ role }) => role)).toEqual(['attacker', 'encoder', `judge:${judgeName}`]);
    for (const { sha256, filesSha256 } of manifest.models) {
      expect([sha256, filesSha256]).toEqual([
        expect.stringMatching(/^[0-9a-f]{64}$/),
        expect.stringMatching(/^[0-9a-f]{64}$/),
      ]);
    }
  });

  it('lets a resume see a changed config, and a changed model of a judge', async () => {
    expect(await warningsAfterResume()).toEqual([]);
    await editJson(at('attacker', 'config.json'), (json) => Object.assign(json, { rms_norm_eps: 0.5 }));
    const first = await warningsAfterResume();
    expect(first).toHaveLength(1);
    expect(first[0]).toContain('config or tokenizer of attacker');
    await editJson(at('clf', 'tokenizer_config.json'), (json) => Object.assign(json, { extra: 1 }));
    expect((await warningsAfterResume())[1]).toContain(`config or tokenizer of judge:${judgeName}`);
  });

  it('is that of a finished run, even where a resume can open a model no longer', async () => {
    const read = async () => {
      const store = await openStore(folder.databasePath, { readOnly: true });
      const seen = { status: await runStatus(folder, store), last: store.events().at(-1)?.code };
      store.close();
      return seen;
    };
    expect((await read()).status).toBe('done');
    await rm(at('clf'), { recursive: true });
    await expect(resumeRun(folder, tiny.io())).rejects.toThrow(/clf/);
    expect(await read()).toEqual({ status: 'done', last: 'failed' });
  });
});
