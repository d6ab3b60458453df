import { join } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { readRegularFile } from '../base/regular-file.ts';
import {
  KEPT_MAP,
  type KeptMap,
  type KeptPanel,
  type KeptPoint,
  parseKeptMap,
  textsKey,
} from '../report/attacks/kept-map.ts';
import { coordinate } from '../report/charts/svg-scale.ts';
import { MAP_SIZE, mapScales } from '../report/sections/section-map.ts';
import { toParts } from '../report/sections/text-vault.ts';
import { counted, percentText } from '../report/words/number-words.ts';
import { stageWords } from '../report/words/stage-words.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { type AttackPages, openAttackPages } from '../runs/store/attack-pages.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { type Labels, wordingName } from '../runs/store/labels.ts';
import { hasBegun } from '../runs/store/run-store.ts';

/** Many times what a report keeps. */
const MAX_MAP_BYTES = 16 * 1024 * 1024;
/** Wordings with a colour of their own. */
const MAX_COLOURED = 6;

/** The map that the last report kept; undefined where there is none. */
export async function readKeptMap({ path }: RunFolder): Promise<KeptMap | undefined> {
  const tooLarge = (size: number): Error => new FloodgateError('format', `${KEPT_MAP}: got ${size} bytes`);
  try {
    return parseKeptMap((await readRegularFile(join(path, KEPT_MAP), MAX_MAP_BYTES, tooLarge)).toString('utf8'));
  } catch {
    return undefined; // no report yet, or one of another version
  }
}

/** The texts of a panel; undefined where the run has other attacks in its rows now. */
export function textsOfPanel(pages: Pick<AttackPages, 'text'>, panel: KeptPanel): readonly string[] | undefined {
  const texts = panel.points.map(({ id }) => pages.text(id) ?? '');
  return textsKey(texts) === panel.textsSha256 ? texts : undefined;
}

/** The texts of each wording; undefined where the run has other attacks in their rows now. */
export function textsOfWordings(pages: Pick<AttackPages, 'text'>, panel: KeptPanel): string[][] | undefined {
  const texts = panel.wordings.map((rows) => rows.map((id) => pages.text(id) ?? ''));
  return textsKey(texts.flat()) === panel.wordingsSha256 ? texts : undefined;
}

function wordingsAnswer(points: readonly KeptPoint[], texts: readonly string[], labels: Labels) {
  const numbers = [...new Set(points.flatMap(({ wording }) => wording ?? []))].sort((a, b) => a - b);
  return numbers.slice(0, MAX_COLOURED).map((number) => {
    const members = points.flatMap(({ wording }, i) => (wording === number ? [i] : []));
    const name = wordingName(
      labels,
      members.map((i) => texts[i] ?? ''),
    );
    const example = points[members[0] ?? -1]?.id ?? 0;
    return { number, successes: members.length, example, name: name === null ? null : toParts(name) };
  });
}

function panelAnswer(
  panel: KeptPanel,
  texts: readonly string[],
  { x, y }: ReturnType<typeof mapScales>,
  labels: Labels,
) {
  const { stage, points, leftOut } = panel;
  const successes = points.filter(({ isSuccess }) => isSuccess).length;
  const summary = `${counted(points.length, 'attack')}, ${counted(successes, 'success', 'successes')}`;
  const { label } = stageWords(stage);
  return {
    ...{ stage, label, leftOut, summary, spoken: `Map of the attacks of ${label}: ${summary}.` },
    wordings: wordingsAnswer(points, texts, labels),
    // Successes are drawn last, on top.
    points: [...points]
      .sort((a, b) => Number(a.isSuccess) - Number(b.isSuccess))
      .map((point) => ({
        ...{
          id: point.id,
          isSuccess: point.isSuccess,
          x: coordinate(x.place(point.x)),
          y: coordinate(y.place(point.y)),
        },
        wording: point.wording !== null && point.wording <= MAX_COLOURED ? point.wording : null,
      })),
  };
}

/** The map of the last report, laid out to be drawn; no text of a model. Panels of attacks that were replaced are missing. */
export async function mapAnswer(folder: RunFolder) {
  const none = { ...MAP_SIZE, encoder: null, shown: null, panels: [], stale: 0 };
  const map = await readKeptMap(folder);
  if (map === undefined || !hasBegun(folder.databasePath)) return none;
  const labels = readLabels(folder.labelsPath);
  const scales = mapScales(map);
  const pages = openAttackPages(folder.databasePath);
  try {
    const panels = map.panels.flatMap((panel) => {
      const texts = textsOfPanel(pages, panel);
      return texts === undefined ? [] : [panelAnswer(panel, texts, scales, labels)];
    });
    const shown = map.shownShare === null ? null : percentText(map.shownShare);
    return { ...none, encoder: map.encoder, shown, panels, stale: map.panels.length - panels.length };
  } finally {
    pages.close();
  }
}
