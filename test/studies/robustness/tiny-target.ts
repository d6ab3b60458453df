import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import type { Config } from '../../../src/stages/config/config.ts';
import { createTinyCampaign, type TinyCampaign } from '../../stages/tiny-campaign.ts';

/** Responses of one character: the unsafe ones decide how often a random model fails. */
const TARGET = `target:
  kind: local
  model: ./attacker
  decode: { temperature: 1, maxNewTokens: 1 }
  responses: 2
`;

const JUDGES = `judges:
  training: { kind: lexicon, name: letters, rules: [{ terms: [a, h, i, y, q, s, k], weight: 0.95 }] }
  evaluation: [{ kind: lexicon, name: fewer, rules: [{ terms: [a, h, i, y, q, s], weight: 0.95 }] }]
`;

const TUNING = `tuning:
  refusals: { source: template, templates: ./refusals.txt, maxNewTokens: 4 }
  benign: { path: ./benign.jsonl, maxNewTokens: 4 }
  lora: { rank: 2, alpha: 4 }
  epochs: 1
  batchSize: 8
  learningRate: 0.01
  validationShare: 0
  check: { attacks: 2, prompts: 4, responses: 1 }
ppo: { updates: 2, warmupUpdates: 0, batchSize: 8, minibatchSize: 8 }
`;

const SMALL = ['sft.updates=2', 'evaluation.attacks=24', 'watch.everyUpdates=0'];

export interface TinyTarget extends TinyCampaign {
  /** The tiny campaign against a random model that fails now and then. */
  readonly text: string;
  targetConfig(overrides?: readonly string[]): Config;
}

/** A campaign whose target is a tiny random model, so that it can be tuned: seconds for everything. */
export async function createTinyTarget(): Promise<TinyTarget> {
  const tiny = await createTinyCampaign();
  const text =
    tiny.configText
      .replace(/target:\n[\s\S]*?responses: 2\n/, TARGET)
      .replace(/judges:\n[\s\S]*?\nencoder/, `${JUDGES}encoder`) + TUNING;
  await writeFile(path.join(tiny.folder, 'refusals.txt'), 'no\nnot now\n');
  const benign = ['hi', 'go on', 'why', 'tea', 'sun', 'rain'].map((prompt) => `${JSON.stringify({ prompt })}\n`);
  await writeFile(path.join(tiny.folder, 'benign.jsonl'), benign.join(''));
  await writeFile(path.join(tiny.folder, 'target.yaml'), text);
  return {
    ...tiny,
    text,
    targetConfig: (overrides = []) =>
      parseConfig(text, { fileName: 'target.yaml', folder: tiny.folder, overrides: [...SMALL, ...overrides] }),
  };
}
