import { FloodgateError } from '../base/errors.ts';
import type { Attacker } from '../learning/attacker.ts';
import { CellCalls } from '../learning/loops/cell-calls.ts';
import type { GflownetOptions } from '../learning/loops/gflownet.ts';
import type { CellParts, Memory } from '../learning/loops/gflownet-parts.ts';
import { createReplayBuffer } from '../learning/replay/replay-buffer.ts';
import { restoreReplayBuffer } from '../learning/replay/replay-buffer-state.ts';
import { bufferOptions } from '../learning/replay/replay-section.ts';
import { WordingClusters, type WordingClustersState } from '../learning/replay/wording-clusters.ts';
import { SuccessPool } from '../learning/reward/spread.ts';
import type { GflownetSection } from './gflownet-section.ts';

interface SavedMemory {
  readonly buffer: unknown;
  readonly pool?: unknown;
  readonly clusters?: WordingClustersState;
}

/** The memory in a checkpoint: one, or one for each cell in its order. */
export type SavedMemories = SavedMemory & {
  readonly cells?: { readonly calls: unknown; readonly memories: readonly SavedMemory[] };
};

function openPool(saved: unknown): SuccessPool {
  return saved === undefined ? new SuccessPool() : SuccessPool.from(saved);
}

/** A new memory, or that of a checkpoint. */
function openMemory({ replay }: GflownetSection, options: GflownetOptions, saved: SavedMemory | undefined): Memory {
  return {
    buffer: saved === undefined ? createReplayBuffer(bufferOptions(replay)) : restoreReplayBuffer(saved.buffer),
    ...(options.spread === undefined ? {} : { pool: openPool(saved?.pool) }),
    ...(options.mix === undefined ? {} : { clusters: new WordingClusters(replay.mix.cosine, saved?.clusters) }),
  };
}

/**
 * The memory of a stage, new or from its checkpoint. With cells, that of the first one beside those of all.
 * @throws FloodgateError `run` for a checkpoint of other cells.
 */
export function openMemories(
  { cells: names, spec }: Attacker,
  section: GflownetSection,
  options: GflownetOptions,
  saved: SavedMemories | undefined,
): Memory & { readonly cells?: CellParts } {
  if (spec.cells === undefined) return openMemory(section, options, saved);
  const before = saved?.cells;
  if (saved !== undefined && before?.memories.length !== names.length)
    throw new FloodgateError('run', `resume: the checkpoint is not one of ${names.length} cells`, {
      hint: 'resume from an earlier checkpoint of this run',
    });
  const cells = names as readonly string[];
  const memories = new Map(cells.map((name, i) => [name, openMemory(section, options, before?.memories[i])]));
  const rule = { rule: section.cells?.calls ?? 'thompson', seed: options.seed } as const;
  const calls = new CellCalls(cells, rule, before?.calls);
  return { ...(memories.get(cells[0] as string) as Memory), cells: { memories, calls } };
}
