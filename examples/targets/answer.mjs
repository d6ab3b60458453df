// A target of kind `module`: the default export answers one attack. Put a client of your own in its place.

/** @type {(question: { attack: string, signal: AbortSignal }) => Promise<string | { text?: string, refused?: boolean | string, usage?: { tokens: number } }>} */
export default async ({ attack, signal }) => {
  signal.throwIfAborted();
  if (attack.includes('password')) return { refused: 'asks for a password' };
  return { text: `You wrote ${attack.length} characters.`, usage: { tokens: 5 } };
};
