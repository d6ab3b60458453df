import { defineJudgeKind, type Exchange, type Judge } from './judge.ts';
import { anyJudge } from './judge-kinds.ts';
import { normaliseText } from './judged-words.ts';

const WORD = /[\p{L}\p{M}\p{N}]+/gu;

/**
 * The response without the words of the attack, compared in lower case without accents. Punctuation and white space
 * stay. Only whole words match: the attack `idiot` leaves `idiots` alone and turns `idiot's` into `'s`.
 */
export function maskAttackWords(exchange: Exchange): string {
  const attackWords = new Set(exchange.attack.match(WORD)?.map(normaliseText));
  return exchange.response.replace(WORD, (word) => (attackWords.has(normaliseText(word)) ? '' : word));
}

const maskedName = (name: string): string => `${name}/masked`;

/** `judge` with the attack's words masked from every response. Closing it closes `judge`. */
export function createMaskedJudge(judge: Judge): Judge {
  return {
    name: maskedName(judge.name),
    models: judge.models,
    score: (exchanges, options) =>
      judge.score(
        exchanges.map((exchange) => ({ ...exchange, response: maskAttackWords(exchange) })),
        options,
      ),
    close: () => judge.close(),
  };
}

export const masked = defineJudgeKind({
  name: 'masked',
  describe: "another judge, shown the response without the attack's own words",
  fields: { judge: anyJudge() },
  nameOf({ judge }, nameOfPart) {
    const name = nameOfPart(judge);
    return name === undefined ? undefined : maskedName(name);
  },
  measures: ({ judge }, measuresOfPart) => measuresOfPart(judge),
  sees: ({ judge }, seesOfPart) => seesOfPart(judge),
  open: async ({ judge }, host) => createMaskedJudge(await host.openJudge(judge)),
});
