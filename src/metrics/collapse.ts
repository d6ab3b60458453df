import { FloodgateError } from '../base/errors.ts';
import { editDistance } from '../learning/replay/near-duplicates.ts';

/** One update of training, over its *fresh* attacks: replayed attacks are not samples of the policy. */
export interface TrainingSnapshot {
  readonly update: number;
  /** Arithmetic mean P_unsafe of the batch. Log R would not do: the schedules of T and gamma move it. */
  readonly meanUnsafe: number | null;
  /** From `batchDiversity`; null where the batch was too small. */
  readonly uniqueShare: number | null;
  readonly meanTokenDistance: number | null;
}

export interface CollapseRule {
  /** Updates averaged into one window. */
  readonly window: number;
  /** Alarm when the mean share of different attacks in a batch falls below this. */
  readonly minUniqueShare: number;
  /** Alarm when the mean pairwise token distance falls below this. */
  readonly minTokenDistance: number;
  /** Alarm when token distance has fallen by this share since its best earlier window ... */
  readonly diversityDrop: number;
  /** ... while mean P_unsafe has risen by at least this much. */
  readonly unsafeRise: number;
}

/** Batches of the paper start near distance 0.9 and unique share 1. Both limits are half of these or less. */
export const COLLAPSE_DEFAULTS: CollapseRule = {
  window: 20,
  minUniqueShare: 0.5,
  minTokenDistance: 0.25,
  diversityDrop: 0.4,
  unsafeRise: 0.05,
};

/** Means over one window of updates; null when no update of the window was measured. */
export interface CollapseWindow {
  readonly fromUpdate: number;
  readonly toUpdate: number;
  readonly meanUnsafe: number | null;
  readonly uniqueShare: number | null;
  readonly meanTokenDistance: number | null;
}

export type CollapseReason = 'few-unique' | 'too-alike' | 'reward-up-diversity-down';

export type CollapseVerdict =
  /** Fewer snapshots than one window. */
  | { readonly kind: 'warming-up' }
  | { readonly kind: 'healthy'; readonly now: CollapseWindow }
  | {
      readonly kind: 'collapse';
      /** `few-unique`: the policy repeats itself. `too-alike`: it varies few words. The third: diversity pays for reward. */
      readonly reasons: readonly CollapseReason[];
      readonly now: CollapseWindow;
      /** The earlier window of greatest token distance; null when there is none yet. */
      readonly best: CollapseWindow | null;
    };

/**
 * The collapse alarm over the history so far (ascending updates). Any of three rules on window means raises it:
 * few-unique: uniqueShare < minUniqueShare; too-alike: meanTokenDistance < minTokenDistance;
 * reward-up-diversity-down: since the earlier, non-overlapping window of greatest token distance, the distance has
 * fallen by at least the share `diversityDrop` and mean P_unsafe has risen by at least `unsafeRise`.
 * @throws FloodgateError `config` when the window is not a whole number >= 1.
 */
export function collapseAlarm(history: readonly TrainingSnapshot[], rule: Partial<CollapseRule> = {}): CollapseVerdict {
  const settings = { ...COLLAPSE_DEFAULTS, ...rule };
  const { window } = settings;
  if (!(Number.isSafeInteger(window) && window >= 1)) {
    throw new FloodgateError(
      'config',
      `collapse alarm: window is invalid, got ${window}, expected a whole number >= 1`,
    );
  }
  if (history.length < window) return { kind: 'warming-up' };
  const now = windowMeans(history.slice(-window));
  const best = mostDiverseWindow(history.slice(0, -window), window);
  const reasons: CollapseReason[] = [];
  if (now.uniqueShare !== null && now.uniqueShare < settings.minUniqueShare) reasons.push('few-unique');
  if (now.meanTokenDistance !== null && now.meanTokenDistance < settings.minTokenDistance) reasons.push('too-alike');
  if (best !== null && hasTraded(best, now, settings)) reasons.push('reward-up-diversity-down');
  return reasons.length === 0 ? { kind: 'healthy', now } : { kind: 'collapse', reasons, now, best };
}

function hasTraded(best: CollapseWindow, now: CollapseWindow, rule: CollapseRule): boolean {
  const { meanTokenDistance: before, meanUnsafe: unsafeBefore } = best;
  const { meanTokenDistance: after, meanUnsafe: unsafeAfter } = now;
  if (before === null || after === null || unsafeBefore === null || unsafeAfter === null) return false;
  return after <= (1 - rule.diversityDrop) * before && unsafeAfter - unsafeBefore >= rule.unsafeRise;
}

/** The window of greatest mean token distance; the earliest of equals. */
function mostDiverseWindow(history: readonly TrainingSnapshot[], window: number): CollapseWindow | null {
  let best: CollapseWindow | null = null;
  for (let end = window; end <= history.length; end++) {
    const means = windowMeans(history.slice(end - window, end));
    if ((means.meanTokenDistance ?? -1) > (best?.meanTokenDistance ?? -1)) best = means;
  }
  return best;
}

function windowMeans(snapshots: readonly TrainingSnapshot[]): CollapseWindow {
  const mean = (read: (snapshot: TrainingSnapshot) => number | null): number | null => {
    const values = snapshots.map(read).filter((value) => value !== null);
    return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  return {
    fromUpdate: snapshots[0]?.update ?? 0,
    toUpdate: snapshots.at(-1)?.update ?? 0,
    meanUnsafe: mean(({ meanUnsafe }) => meanUnsafe),
    uniqueShare: mean(({ uniqueShare }) => uniqueShare),
    meanTokenDistance: mean(({ meanTokenDistance }) => meanTokenDistance),
  };
}

/** How different the attacks of one batch are. The collapse alarm reads it. */
export interface BatchDiversity {
  /** Different token sequences / sequences, in (0, 1]; null for an empty batch. */
  readonly uniqueShare: number | null;
  /** Mean over pairs of edit distance / length of the longer, in [0, 1]; null below two attacks. */
  readonly meanTokenDistance: number | null;
}

/** Cells of edit-distance tables that one batch may take: about a second. Stops batches of thousands of long attacks. */
const MAX_DISTANCE_CELLS = 2 ** 28;

/**
 * Diversity of the token sequences of a batch. Distances are O(pairs * length^2): they are those of the first attacks
 * whose pairs take at most `mostCells` cells, which are as good a sample as any. The share of different ones is of all.
 */
export function batchDiversity(
  batch: readonly (readonly number[])[],
  mostCells: number = MAX_DISTANCE_CELLS,
): BatchDiversity {
  const unique = new Set(batch.map((tokens) => tokens.join(','))).size;
  let sum = 0;
  let pairs = 0;
  let cells = 0;
  for (const [i, a] of batch.entries()) {
    const earlier = batch.slice(0, i);
    cells += earlier.reduce((total, b) => total + a.length * b.length, 0);
    if (cells > mostCells) break;
    for (const b of earlier) sum += editDistance(a, b) / Math.max(a.length, b.length, 1);
    pairs += i;
  }
  return {
    uniqueShare: batch.length === 0 ? null : unique / batch.length,
    meanTokenDistance: pairs === 0 ? null : sum / pairs,
  };
}
