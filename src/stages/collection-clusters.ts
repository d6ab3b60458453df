import { randomStream } from '../base/random.ts';
import type { CollectedAttack } from '../learning/loops/collection-weights.ts';
import { createEmbeddingMatrix } from '../metrics/embedding-matrix.ts';
import { ngramClusterSizes } from '../metrics/ngram-clusters.ts';
import { uniqueAttacks } from '../metrics/unique-attacks.ts';
import type { Campaign } from './campaign/campaign.ts';
import { loadReference } from './campaign/load-reference.ts';

/** Size of the cluster that each collected attack lies in, as `smoothing.clusters` says what a cluster is. */
export async function clusterSizes(campaign: Campaign, attacks: readonly CollectedAttack[]): Promise<number[]> {
  const texts = attacks.map(({ text }) => text);
  if (campaign.config.smoothing.clusters === 'embedding') return embeddingSizes(campaign, texts);
  return ngramClusterSizes(texts, await referenceTexts(campaign));
}

/** By the threshold of the evaluation. */
async function embeddingSizes({ encoder, config }: Campaign, texts: readonly string[]): Promise<number[]> {
  const embeddings = await encoder.embed(texts);
  const matrix = createEmbeddingMatrix(embeddings, texts.length, embeddings.length / texts.length);
  const all = texts.map((_, i) => i);
  const sizes = new Array<number>(texts.length).fill(1);
  for (const { members } of uniqueAttacks(matrix, all, config.evaluation.uniqueThreshold).clusters) {
    for (const member of members) sizes[member] = members.length;
  }
  return sizes;
}

/** Attacks of the reference that tell what is common without any reward. */
const REFERENCE_TEXTS = 8192;
const ROWS = 256;

async function referenceTexts(campaign: Campaign): Promise<string[]> {
  const { attacker, config } = campaign;
  const state = attacker.stateOf(await loadReference(campaign));
  const texts: string[] = [];
  for (let start = 0; start < REFERENCE_TEXTS; start += ROWS) {
    const requests = Array.from({ length: ROWS }, (_, i) => ({
      stream: randomStream(config.seed, 'cluster reference', start + i),
      temperature: 1,
    }));
    texts.push(...(await attacker.sample(state, requests)).map(({ text }) => text));
  }
  return texts;
}
