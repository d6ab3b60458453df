import type { Tensor } from 'onnxruntime-node';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { multiplySizes, type Size, subtractSizes, symbolSize } from '../../engine/graph/size.ts';
import { type Device, takesEmptyTensors } from '../../engine/runtime/device.ts';
import { int64Tensor } from '../../engine/runtime/tensors.ts';
import type { Trainable } from './declare-model.ts';
import { bannedLogits, type TokenBans } from './sampler.ts';
import type { Trunk } from './trunk.ts';

/** More would spare little: the rest of a step is larger by then, and each part reads the whole head. */
const MOST_PARTS = 4;

/** Rows of every part but the last, which has the rest. */
const PART = symbolSize('C');
const PART_INPUT = 'headPart';

/** Parts of the rows in which a step computes its head. A head that is trained, in one: its gradient needs all rows. */
export function headParts(trained: Trainable['kind'], device: Device): number {
  return trained === 'lora' && takesEmptyTensors(device) ? MOST_PARTS : 1;
}

/** The feed that tells a graph of so many parts how many of its N rows a part has. */
export function headPartFeed(parts: number, rows: number): Record<string, Tensor> {
  if (parts === 1) return {};
  const size = Math.floor(rows / parts);
  return { [PART_INPUT]: int64Tensor(new Float64Array(size), [size]) };
}

export interface FrozenHead {
  /** Log-prob of each row's target under the sampler [N]. */
  readonly tokenLogProb: Value;
  /** Gradient of each log-prob by the row's final hidden state [N, D]. */
  readonly hiddenGradient: Value;
}

export interface FrozenHeadInputs {
  /** int64 [N] */
  readonly targetIds: Value;
  /** [N] */
  readonly endBan: Value;
  readonly bans: TokenBans;
  readonly vocabSize: number;
  /** Of `headParts`. */
  readonly parts: number;
}

/**
 * The head of a step that does not train it. A log-prob's gradient by its hidden state depends on nothing that comes
 * after, so it is computed beside the log-prob, part by part: the matrices of rows by vocabulary, the largest of a
 * step, are never whole. With several parts the graph has one more input, `headPart` int64 [C], of which only the
 * length counts.
 *
 * Declare it before the trunk's layers: the runtime executes what is later in a graph first, and the bans of a part
 * are as large as its logits.
 *
 * @returns what the head makes of the final hidden states [N, D].
 */
export function declareFrozenHead(
  g: GraphBuilder,
  trunk: Trunk,
  inputs: FrozenHeadInputs,
): (rows: Value) => FrozenHead {
  const { bans, vocabSize, parts } = inputs;
  const N = inputs.targetIds.shape[0] as Size;
  const split = partition(g, N, parts);
  const banned = split(inputs.endBan).map(bannedLogits(g, bans, vocabSize));
  const targets = split(inputs.targetIds);
  return (all) => {
    const D = all.shape[1] as Size;
    const done = split(all).map((rows, part) => {
      const ids = targets[part] as Value;
      const n = rows.shape[0] as Size;
      const [logProb, logProbs] = g.apply({ kind: 'tokenLogProb' }, [trunk.logits(rows, banned[part]), ids]);
      const ones = g.expand(g.reshape(g.scalar(1), [1]), [n]);
      const [byLogits] = g.apply({ kind: 'tokenLogProbGradient' }, [logProbs as Value, ids, ones]);
      // In one tensor: nothing can read the log-probs of a part before its gradient is there and its matrices are free.
      return g.concat([g.reshape(logProb as Value, [n, 1]), trunk.logitsGradient(byLogits as Value)], 1);
    });
    const [logProb, hiddenGradient] = g.split(g.concat(done, 0), 1, [1, D]) as [Value, Value];
    return { tokenLogProb: g.reshape(logProb, [N]), hiddenGradient };
  };
}

/** Splits values of N rows into parts. Declares the input that their size comes from. */
function partition(g: GraphBuilder, N: Size, parts: number): (x: Value) => Value[] {
  if (parts === 1) return (x) => [x];
  g.input(PART_INPUT, 'int64', [PART]);
  const sizes = [...Array.from({ length: parts - 1 }, () => PART), subtractSizes(N, multiplySizes(PART, parts - 1))];
  return (x) => g.split(x, 0, sizes);
}
