import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { canonicalJson } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { randomStream } from '../../base/random.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { AttackTokens } from '../../learning/attack.ts';
import type { Attacker, AttackerState } from '../../learning/attacker.ts';
import { parseFields, readJsonFile } from '../../models/formats/json-file.ts';
import { PLAIN_SHARE } from './language-spec.ts';
import type { CentreMeter, PlacedDraw } from './regions.ts';

/** One request, drawn from the reference or from the proposal. */
export interface LanguageDraw extends AttackTokens, PlacedDraw {
  readonly text: string;
  /** log p_ref, nats. */
  readonly logPRef: number;
  /** True when the reference itself drew it. */
  readonly isPlain: boolean;
  /** Prior mass that it represents: p_ref over the density of the mixture that drew it, over the number of draws. */
  readonly prior: number;
}

/** The attacker under two sets of weights: the reference, and a proposal that writes near the regions. */
export interface DrawSource {
  readonly attacker: Attacker;
  readonly reference: AttackerState;
  /** Another attacker of the same model and prompt, or the same one. */
  readonly proposer: Attacker;
  readonly proposal: AttackerState;
  readonly meter: CentreMeter;
}

export interface DrawPlan {
  /** Folder of its own for these draws: a batch a file, so that a stopped command resumes. */
  readonly folder: string;
  /** Of the random streams. */
  readonly name: string;
  readonly seed: number;
  readonly count: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal | undefined;
}

/** Requests drawn at once: Ctrl-C is heard between two batches. */
const BATCH = 64;

const batchSchema = z.array(
  z.object({
    tokens: z.array(z.number().int().min(0)),
    terminated: z.boolean(),
    text: z.string(),
    logPRef: z.number(),
    logProposal: z.number(),
    isPlain: z.boolean(),
    cosines: z.array(z.number()),
  }),
);
type RawDraw = z.output<typeof batchSchema>[number];

const MAX_BATCH_BYTES = 4 * 1024 * 1024;

/**
 * Draws requests from a mixture: half from the reference, the rest from the proposal. Each represents the prior
 * mass p_ref / mixture / count, so that sums over draws estimate sums under the reference without bias, and no weight
 * is above 2 / count (the balance heuristic of Veach and Guibas, 1995). Stored batches are read again.
 *
 * @throws FloodgateError `interrupted` between two batches.
 */
export async function drawRequests(source: DrawSource, plan: DrawPlan): Promise<LanguageDraw[]> {
  const { folder, count, progress, signal } = plan;
  await mkdir(folder, { recursive: true });
  const bar = progress.start(plan.name, count, 'requests');
  const raw: RawDraw[] = [];
  try {
    for (let batch = 0; raw.length < count; batch++) {
      if (signal?.aborted) throw new FloodgateError('interrupted', `${plan.name}: interrupted, every batch is kept`);
      const size = Math.min(BATCH, count - raw.length);
      append(
        raw,
        await storedBatch(path.join(folder, `${String(batch).padStart(4, '0')}.json`), size, () =>
          drawBatch(source, plan, { batch, size }),
        ),
      );
      bar.update(raw.length);
    }
  } finally {
    bar.finish();
  }
  return weighDraws(raw);
}

async function storedBatch(file: string, size: number, draw: () => Promise<RawDraw[]>): Promise<RawDraw[]> {
  if (existsSync(file)) {
    const stored = parseFields(batchSchema, await readJsonFile(file, MAX_BATCH_BYTES), file);
    if (stored.length === size) return stored;
  }
  const drawn = await draw();
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(drawn)));
  return drawn;
}

const isPlainBatch = (batch: number): boolean => batch % Math.round(1 / PLAIN_SHARE) === 0;

async function drawBatch(
  { attacker, reference, proposer, proposal, meter }: DrawSource,
  { seed, name, signal }: DrawPlan,
  { batch, size }: { readonly batch: number; readonly size: number },
): Promise<RawDraw[]> {
  const isPlain = isPlainBatch(batch);
  const requests = Array.from({ length: size }, (_, i) => ({
    stream: randomStream(seed, name, batch, i),
    temperature: 1,
  }));
  const drawn = await (isPlain
    ? attacker.sample(reference, requests, signal)
    : proposer.sample(proposal, requests, signal));
  const others = isPlain ? await proposer.score(proposal, drawn) : await attacker.score(reference, drawn);
  const cosines = await meter.cosinesOf(drawn.map(({ text }) => text));
  return drawn.map(({ tokens, terminated, text, logPi }, i) => {
    const other = (others[i] as Float32Array).reduce((sum, logProb) => sum + logProb, 0);
    const [logPRef, logProposal] = isPlain ? [logPi, other] : [other, logPi];
    return { tokens: [...tokens], terminated, text, logPRef, logProposal, isPlain, cosines: cosines[i] as number[] };
  });
}

/** The draws with the prior mass of each. */
function weighDraws(raw: readonly RawDraw[]): LanguageDraw[] {
  const plain = raw.filter(({ isPlain }) => isPlain).length / raw.length;
  return raw.map(({ logProposal, ...draw }) => {
    const ratio = Math.exp(logProposal - draw.logPRef);
    return { ...draw, prior: 1 / (plain + (1 - plain) * ratio) / raw.length };
  });
}

/** The checkpoints of the proposal that draws near the regions. */
export const PROPOSAL = 'proposal-2';

/** sha256 (hex) of a reference: its adapter, its prompt and the lengths of its attacks. */
export function referenceSha256(attacker: Attacker, { data }: ParameterVector): string {
  const { metaPrompt, minTokens, maxTokens, trainable } = attacker.spec;
  return createHash('sha256')
    .update(canonicalJson({ metaPrompt, minTokens, maxTokens, trainable }))
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}

/** The draws by which a reference's truth is measured; runs of one reference share them. */
export function referenceDraws(
  source: DrawSource,
  plan: Omit<DrawPlan, 'name'> & { readonly reference: string },
): Promise<LanguageDraw[]> {
  const folder = `${plan.folder}/draws-${plan.reference.slice(0, 16)}`;
  return drawRequests(source, { ...plan, folder, name: 'measure the world' });
}
