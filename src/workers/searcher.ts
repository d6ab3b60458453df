import { FloodgateError } from '../base/errors.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { Attacker, AttackerState } from '../learning/attacker.ts';
import { drawFresh, type FreshAttack } from '../learning/loops/fresh-attacks.ts';
import { consultReference } from '../learning/loops/rollout.ts';
import { Surrogate } from '../learning/proposals/surrogate.ts';
import { identityOfCheckpoint } from '../models/model-identity.ts';
import type { OpenedEncoder } from '../models/open-models.ts';
import type { Blobs } from '../queue/blobs.ts';
import type { SearchJob } from '../queue/protocol.ts';
import {
  MAX_ADAPTER_BYTES,
  MAX_SURROGATE_BYTES,
  modelWeights,
  parseSurrogate,
  readAdapter,
  type SearchedAttack,
} from '../queue/search-job.ts';
import { openRunAttacker } from '../stages/campaign/run-attacker.ts';
import { type AskedModels, openConfigEncoder } from '../stages/campaign/run-models.ts';
import { headShape, tailShape } from '../stages/config/config.ts';
import { embedEach } from '../stages/embed-each.ts';
import { createLimiter } from '../wire/limiter.ts';
import { Opened, parseSection, requireWeights } from './opened.ts';

/** Adapters that stay in memory: those of the reference, of one update, and of the next. */
const MOST_ADAPTERS = 3;

/** An attacker, and the weights that it has here. */
interface OpenedAttacker {
  readonly attacker: Attacker;
  readonly weights: string;
  close(): Promise<void>;
}

/** A sentence encoder, and the weights that it has here. */
interface EncoderHere {
  readonly embed: (texts: readonly string[]) => Promise<Float32Array[]>;
  readonly weights: string;
  close(): Promise<void>;
}

async function openAttackerHere(models: AskedModels, section: unknown): Promise<OpenedAttacker> {
  const config = { attacker: parseSection(headShape.attacker, section, 'attacker') };
  const checkpoint = await models.openDecoder(config.attacker.model, 'attacker');
  const { prepack = true } = models.host;
  const compute = { device: config.attacker.device, threads: models.threads, prepack };
  const attacker = await openRunAttacker(config, checkpoint, compute);
  return { attacker, weights: modelWeights(identityOfCheckpoint(checkpoint)), close: () => attacker.close() };
}

async function openEncoderHere(models: AskedModels, section: unknown): Promise<EncoderHere> {
  const config = parseSection(tailShape.encoder, section, 'encoder');
  const { encoder, entry }: OpenedEncoder = await openConfigEncoder(models.models, config);
  return { embed: embedEach(encoder), weights: modelWeights(entry), close: async () => encoder.close() };
}

/** Draws, screens and consults the reference for the searches of one run, as its learner would. */
export class Searcher {
  private readonly attacker: Opened<OpenedAttacker>;
  private readonly encoder: Opened<EncoderHere>;
  private readonly adapters = new Map<string, ParameterVector>();
  /** The sessions of one attacker serve one search at a time. */
  private readonly one = createLimiter(1);

  constructor({ attacker, encoder }: Pick<SearchJob, 'attacker' | 'encoder'>, models: () => Promise<AskedModels>) {
    this.attacker = new Opened(async () => openAttackerHere(await models(), attacker.section));
    this.encoder = new Opened(async () => openEncoderHere(await models(), encoder?.section));
  }

  /** The attacks of a job, in order. @throws FloodgateError `target` for other weights; `run` for bytes that are none. */
  async search(job: SearchJob, blobs: Blobs, signal: AbortSignal): Promise<SearchedAttack[]> {
    return this.one.run(async () => {
      const { attacker, weights } = await this.attacker.get();
      requireWeights('attacker', weights, job.attacker.weights);
      refuseUnknownTokens(job, attacker);
      const state = await this.stateOf(attacker, blobs, job.policy);
      const drawn = await drawFresh({ attacker, state, ...(await this.screening(job, blobs)) }, job.plan);
      const reference = await this.stateOf(attacker, blobs, job.reference);
      const opinions = await consultReference(
        attacker,
        reference,
        drawn.map(({ attack }) => attack),
        job.rule,
      );
      return drawn.map((each, i) => toSearched(each, opinions[i] as (typeof opinions)[number]));
    }, signal);
  }

  private async stateOf(attacker: Attacker, blobs: Blobs, hash: string): Promise<AttackerState> {
    const vector = this.adapters.get(hash) ?? attacker.createParameters();
    if (!this.adapters.delete(hash)) readAdapter(await blobs.get(hash, MAX_ADAPTER_BYTES), vector.data);
    this.adapters.set(hash, vector); // the last one used is the last to go
    for (const oldest of this.adapters.keys()) {
      if (this.adapters.size <= MOST_ADAPTERS) break;
      this.adapters.delete(oldest);
    }
    return attacker.stateOf(vector);
  }

  private async screening({ encoder, surrogate, plan }: SearchJob, blobs: Blobs) {
    if (encoder === null || surrogate === null) return {};
    const { embed, weights } = await this.encoder.get();
    requireWeights('encoder', weights, encoder.weights);
    const state = parseSurrogate(await blobs.get(surrogate, MAX_SURROGATE_BYTES));
    return { embed, surrogate: new Surrogate(plan.seed, state) };
  }

  async close(): Promise<void> {
    await this.attacker.close();
    await this.encoder.close();
    this.adapters.clear();
  }
}

/** A token beyond the table would be read from memory that is none of its own. */
function refuseUnknownTokens({ plan: { parents } }: SearchJob, { spec }: Attacker): void {
  const { vocabSize } = spec.config;
  if (parents.every((tokens) => tokens.length <= spec.maxTokens && tokens.every((token) => token < vocabSize))) return;
  throw new FloodgateError('run', `search: an attack to rewrite has tokens that the attacker has not`);
}

function toSearched(
  { attack, prediction }: FreshAttack,
  { logPRef, fluency }: { readonly logPRef: number; readonly fluency: number },
): SearchedAttack {
  const { source, tokens, terminated, text, logPi } = attack;
  return {
    source: source as SearchedAttack['source'],
    tokens: [...tokens],
    terminated,
    text,
    logPi,
    prediction: prediction ?? null,
    logPRef,
    fluency,
  };
}
