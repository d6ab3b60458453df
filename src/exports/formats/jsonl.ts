import { printableJson } from '../../base/unprintable.ts';
import type { TextFormat } from '../export-format.ts';

/** One JSON object a line, an attack each: the fields of `ExportedAttack`. */
export const jsonl: TextFormat = {
  kind: 'text',
  name: 'jsonl',
  describe: 'one JSON object a line, an attack with its responses and verdicts',
  *pieces(source) {
    // Escaped, the text of a model moves no cursor; a parser reads the same value.
    for (const attack of source.attacks()) yield `${printableJson(JSON.stringify(attack))}\n`;
  },
};
