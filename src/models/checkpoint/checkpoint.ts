import type { WeightStore } from '../formats/weight-store.ts';
import type { ChatTemplate } from '../tokenizer/chat-template.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { DecoderConfig } from './decoder-config.ts';
import type { EncoderConfig } from './encoder-config.ts';

/** What every opened model folder or file gives, before any session exists. */
interface CheckpointParts {
  /** The spec it was opened from, for manifests and messages. */
  readonly spec: string;
  /** sha256 of the source file(s), hex. */
  readonly sha256: string;
  readonly weights: WeightStore;
  readonly tokenizer: Tokenizer;
}

export interface DecoderCheckpoint extends CheckpointParts {
  readonly kind: 'decoder';
  readonly config: DecoderConfig;
  /** Undefined when the model ships no chat template. */
  readonly chatTemplate: ChatTemplate | undefined;
}

export interface EncoderCheckpoint extends CheckpointParts {
  readonly kind: 'encoder';
  readonly config: EncoderConfig;
}

export type Checkpoint = DecoderCheckpoint | EncoderCheckpoint;
