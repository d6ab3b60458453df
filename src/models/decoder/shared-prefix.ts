import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { addSizes, multiplySizes, type Size, symbolSize } from '../../engine/graph/size.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { attentionScale, attentionWindow, isWindowed, windowMask } from './attention-window.ts';
import type { Attend } from './trunk.ts';

/** Run-time sizes: B rows of R tokens after a prefix of P tokens. All rows share the prefix, which is computed once. */
export const B = symbolSize('B');
export const R = symbolSize('R');
export const P = symbolSize('P');
const BR = multiplySizes(B, R);

/** Key and value of one layer in cache layout: prefix [1, G, P, K], rows [B, G, R, K]. */
export interface LayerCache {
  readonly prefixKey: Value;
  readonly prefixValue: Value;
  readonly rowKey: Value;
  readonly rowValue: Value;
}

export interface SharedPrefixInputs {
  /** int64 [P + B*R]: the prefix, then the rows one after another. */
  readonly ids: Value;
  /** int64 [P + B*R] */
  readonly positions: Value;
  readonly attend: Attend;
  /** Filled while the trunk is built, one entry for each layer. */
  readonly caches: LayerCache[];
}

/**
 * Declares the token inputs of a graph whose rows share a prefix, and the attention over them. The rows start with the
 * *last* prompt token, so the prefix is the prompt without it. Rows are padded on the right: causality alone keeps
 * padding out of every real position.
 */
export function declareSharedPrefix(g: GraphBuilder, config: DecoderConfig, contextTokens: number): SharedPrefixInputs {
  const prefixIds = g.input('prefixIds', 'int64', [P]);
  const rowIds = g.input('rowIds', 'int64', [B, R]);
  const prefixPositions = g.input('prefixPositions', 'int64', [P]);
  const rowPositions = g.input('rowPositions', 'int64', [B, R]);
  const prefixMask = g.input('prefixMask', 'float32', [P, P]);
  const rowMask = g.input('rowMask', 'float32', [R, addSizes(P, R)]);
  const full: AttentionMasks = { prefix: prefixMask, rows: rowMask };
  const window = attentionWindow(config, contextTokens);
  const local = window === undefined ? full : windowedMasks(g, { full, prefixPositions, rowPositions, window });
  const caches: LayerCache[] = [];
  const heads = createHeadLayout(g, config);
  const attend: Attend = (layer, q, k, v) => {
    const masks = isWindowed(config, layer) ? local : full;
    const [qPrefix, qRows] = g.split(q, 0, [P, BR]) as [Value, Value];
    const [kPrefix, kRows] = g.split(k, 0, [P, BR]) as [Value, Value];
    const [vPrefix, vRows] = g.split(v, 0, [P, BR]) as [Value, Value];
    const cache: LayerCache = {
      prefixKey: heads.keyValue(kPrefix, 1, P),
      prefixValue: heads.keyValue(vPrefix, 1, P),
      rowKey: heads.keyValue(kRows, B, R),
      rowValue: heads.keyValue(vRows, B, R),
    };
    caches.push(cache);
    const { kvHeads: G, headWidth: K } = config;
    const spread = (prefix: Value, rows: Value): Value => g.concat([g.expand(prefix, [B, G, P, K]), rows], 2);
    const prefixOut = heads.attention(qPrefix, cache.prefixKey, cache.prefixValue, {
      mask: masks.prefix,
      batch: 1,
      tokens: P,
    });
    const rowsOut = heads.attention(
      qRows,
      spread(cache.prefixKey, cache.rowKey),
      spread(cache.prefixValue, cache.rowValue),
      {
        mask: masks.rows,
        batch: B,
        tokens: R,
      },
    );
    return g.concat([prefixOut, rowsOut], 0);
  };
  return {
    ids: g.concat([prefixIds, g.reshape(rowIds, [BR])], 0),
    positions: g.concat([prefixPositions, g.reshape(rowPositions, [BR])], 0),
    attend,
    caches,
  };
}

/** Additive masks of the prefix's tokens [P, P] and of the rows' [R, P + R], or [B, 1, 1, R, P + R] in a window. */
interface AttentionMasks {
  readonly prefix: Value;
  readonly rows: Value;
}

interface WindowInputs {
  readonly full: AttentionMasks;
  /** int64 [P] */
  readonly prefixPositions: Value;
  /** int64 [B, R] */
  readonly rowPositions: Value;
  readonly window: number;
}

/** The masks of layers that see only a window of the tokens. */
function windowedMasks(g: GraphBuilder, inputs: WindowInputs): AttentionMasks {
  const { full, window } = inputs;
  const prefix = g.cast(inputs.prefixPositions, 'float32');
  const rows = g.cast(inputs.rowPositions, 'float32');
  const keys = g.concat([g.expand(g.reshape(prefix, [1, P]), [B, P]), rows], 1); // [B, P + R]
  const ofPrefix = { queries: g.reshape(prefix, [P, 1]), keys: g.reshape(prefix, [1, P]) };
  const ofRows = {
    queries: g.reshape(rows, [B, 1, 1, R, 1]),
    keys: g.reshape(keys, [B, 1, 1, 1, addSizes(P, R)]),
  };
  return {
    prefix: g.add(full.prefix, windowMask(g, ofPrefix, window)),
    rows: g.add(full.rows, windowMask(g, ofRows, window)),
  };
}

interface AttentionShape {
  /** Additive mask that broadcasts to [b, G, J, T, S]. */
  readonly mask: Value;
  readonly batch: Size;
  readonly tokens: Size;
}

/** Reshapes between flat tokens and heads. The query heads of one K/V head are rows of one matmul. */
function createHeadLayout(g: GraphBuilder, config: DecoderConfig) {
  const { heads: H, kvHeads: G, headWidth: K } = config;
  const scale = attentionScale(config);
  const J = H / G; // query heads a K/V head
  return {
    /** [b*t, G*K] -> [b, G, t, K] */
    keyValue: (x: Value, b: Size, t: Size): Value => g.transpose(g.reshape(x, [b, t, G, K]), [0, 2, 1, 3]),

    /** q [b*t, H*K], k and v [b, G, S, K] -> [b*t, H*K] */
    attention: (q: Value, k: Value, v: Value, { mask, batch: b, tokens: t }: AttentionShape): Value => {
      const S = k.shape[2] as Size;
      const rows = multiplySizes(t, J);
      const grouped = g.transpose(g.reshape(q, [b, t, G, J, K]), [0, 2, 3, 1, 4]); // [b, G, J, t, K]
      const scores = g.matmul(g.reshape(grouped, [b, G, rows, K]), k, { transposeB: true, scale });
      const masked = g.add(g.reshape(scores, [b, G, J, t, S]), mask);
      const weights = g.reshape(g.softmax(masked), [b, G, rows, S]);
      const mixed = g.reshape(g.matmul(weights, v), [b, G, J, t, K]);
      return g.reshape(g.transpose(mixed, [0, 3, 1, 2, 4]), [multiplySizes(b, t), H * K]);
    },
  };
}
