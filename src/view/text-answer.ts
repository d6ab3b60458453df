import { type TextParts, toParts } from '../report/sections/text-vault.ts';

export interface TextAnswer {
  readonly characters: number;
  readonly parts?: TextParts;
}

/** A text as it leaves: its length always, itself only where the request asks to show it. */
export function textAnswer(text: string, isShown: boolean): TextAnswer {
  return { characters: [...text].length, ...(isShown ? { parts: toParts(text) } : {}) };
}
