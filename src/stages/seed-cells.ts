import { maxOf } from '../base/long-lists.ts';
import { embedEach } from './embed-each.ts';
import type { Campaign } from './stage.ts';

/** The cells of the seeds, kept in the run: the encoder reads them once. */
const KEPT = 'cells of seeds';

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
}

/** The name of the cell whose text is nearest to each text. */
async function nearestCells({ attacker, encoder }: Campaign, texts: readonly string[]): Promise<string[]> {
  const cells = attacker.spec.cells ?? [];
  const embed = embedEach(encoder);
  const ofCells = await embed(cells.map(({ text }) => text));
  const ofTexts = texts.length === 0 ? [] : await embed(texts);
  return ofTexts.map((own) => {
    const cosines = ofCells.map((cell) => dot(own, cell));
    return cells[cosines.indexOf(maxOf(cosines))]?.name as string;
  });
}

async function assignCells(campaign: Campaign): Promise<readonly string[]> {
  const { attacks, cells = [] } = campaign.seeds;
  const nearest = await nearestCells(
    campaign,
    attacks.filter((_, i) => cells[i] === undefined),
  );
  let next = 0;
  return attacks.map((_, i) => cells[i] ?? (nearest[next++] as string));
}

/** A warning of the cells that no seed is of, once: SFT does not teach them. */
function warnOfEmpty({ attacker, store }: Campaign, assigned: readonly string[]): void {
  const empty = attacker.cells.filter((cell) => !assigned.includes(cell ?? ''));
  if (empty.length === 0) return;
  const message = `no seed is of the cells ${empty.join(', ')}: their first attacks are those of the untrained prompt`;
  store.recordEvent({ level: 'warning', code: 'cells-without-seeds', message });
}

/**
 * The cell of each seed attack, as a field beside it: as the file says, or else the cell whose text is nearest by the
 * encoder's embedding. No field for an attacker without cells.
 */
export async function seedCells(campaign: Campaign): Promise<(text: string) => { readonly cell?: string }> {
  const { attacker, store, seeds } = campaign;
  if (attacker.spec.cells === undefined) return () => ({});
  const kept = store.info(KEPT);
  const assigned = kept === undefined ? await assignCells(campaign) : (JSON.parse(kept) as readonly string[]);
  if (kept === undefined) {
    store.setInfo(KEPT, JSON.stringify(assigned));
    warnOfEmpty(campaign, assigned);
  }
  const byText = new Map(seeds.attacks.map((text, i) => [text, assigned[i] as string]));
  return (text) => ({ cell: byText.get(text) as string });
}
