/** A command of a shell text, without its redirections. */
export interface ShellCommand {
  /** Line in the text, from 1. */
  readonly line: number;
  /** Variables that are set for this command alone: `SEED=1 npm test`. */
  readonly variables: readonly string[];
  readonly words: readonly string[];
}

interface Token {
  readonly line: number;
  readonly kind: 'word' | 'separator' | 'redirection';
  readonly text: string;
}

const PARTS = [
  ['space', /(?:[ \t]|\\\n)+/y],
  ['comment', /#[^\n]*/y],
  ['separator', /\n|;|&&|\|\||[|&]/y],
  ['redirection', /\d*(?:>>?|<)/y],
  ['word', /(?:'[^']*'|"(?:[^"\\]|\\[\s\S])*"|\\[^\n]|[^\s'"\\;&|<>()`#]|(?<=\S)#)+/y],
] as const;

function unquote(word: string): string {
  return word.replace(/'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([^\n])/g, (_, single, double, escaped) =>
    single !== undefined ? single : double !== undefined ? double.replace(/\\(["\\$`])/g, '$1') : escaped,
  );
}

/** @throws Error for what these documents do not need: subshells, command substitution, open quotes. */
function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    const start = at;
    const line = text.slice(0, at).split('\n').length;
    for (const [kind, pattern] of PARTS) {
      pattern.lastIndex = at;
      const found = pattern.exec(text)?.[0];
      if (found === undefined) continue;
      at += found.length;
      if (kind !== 'space' && kind !== 'comment')
        tokens.push({ line, kind, text: kind === 'word' ? unquote(found) : found });
      break;
    }
    if (at === start) throw new Error(`line ${line}: cannot be read at ${JSON.stringify(text.slice(at, at + 20))}`);
  }
  return tokens;
}

const KEYWORDS = ['if', 'then', 'else', 'fi', 'while', 'until', 'case', 'esac', '{', '}', '['];

/** Splits at separators; a redirection takes the word behind it along. */
function listsOf(tokens: readonly Token[]): Token[][] {
  const lists: Token[][] = [[]];
  let isTarget = false;
  for (const token of tokens) {
    if (token.kind === 'separator') lists.push([]);
    else if (token.kind === 'word' && !isTarget) lists.at(-1)?.push(token);
    isTarget = token.kind === 'redirection';
  }
  return lists.filter((list) => list.length > 0);
}

/**
 * The commands of a shell text: quotes, comments, continued lines, pipes and `for NAME in …; do …; done`, whose variable
 * has its first value.
 *
 * @throws Error for what it cannot read, with the line.
 */
export function shellCommands(text: string): ShellCommand[] {
  const values = new Map<string, string>();
  const valued = (word: string) =>
    word.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare, braced) => values.get(bare ?? braced) ?? whole);
  return listsOf(tokensOf(text)).flatMap((list) => {
    const line = list[0]?.line ?? 0;
    const all = list.map((token) => valued(token.text));
    const rest = all[0] === 'do' ? all.slice(1) : all;
    const [first = '', name = ''] = rest;
    if (KEYWORDS.includes(first)) throw new Error(`line ${line}: "${first}" cannot be read`);
    if (first === 'for') values.set(name, rest[3] ?? '');
    if (first === 'for' || first === 'done') return [];
    const at = rest.findIndex((word) => !/^\w+=/.test(word));
    const variables = (at < 0 ? rest : rest.slice(0, at)).map((word) => word.split('=', 1)[0] as string);
    return [{ line, variables, words: at < 0 ? [] : rest.slice(at) }];
  });
}
