import { parseJsonPath, textLeaves, valueLeaves } from '../wire/json-path.ts';

/** Shapes of requests and answers that apps usually have. */

/** A body with `{{attack}}` where the app may expect the message of a user. */
export type RequestShape = Readonly<Record<string, unknown>>;

const ATTACK = '{{attack}}';

/** Names of the field that holds the message of a user, the commonest first. */
const MESSAGE_FIELDS = [
  'message',
  'prompt',
  'input',
  'question',
  'query',
  'text',
  'content',
  'q',
  'msg',
  'userMessage',
  'user_message',
  'user_input',
  'inputs',
];

const CHAT: RequestShape = { messages: [{ role: 'user', content: ATTACK }] };

export const USUAL_SHAPES: readonly RequestShape[] = [
  ...MESSAGE_FIELDS.slice(0, 3).map((name) => ({ [name]: ATTACK })),
  CHAT,
  ...MESSAGE_FIELDS.slice(3).map((name) => ({ [name]: ATTACK })),
];

/** Most fields of an error that make a shape: stops an app that lists thousands. */
const MAX_NAMED = 8;
const FIELD = /^[A-Za-z_][\w-]{0,63}$/;

/** Names that an error gives to missing fields: `loc: ["body", "question"]` as FastAPI does. */
function locatedFields(document: unknown): string[] {
  const found: string[] = [];
  const walk = (value: unknown, depth: number): void => {
    if (depth > MAX_NAMED || found.length >= MAX_NAMED || value === null || typeof value !== 'object') return;
    const { loc } = value as { readonly loc?: unknown };
    if (Array.isArray(loc) && loc[0] === 'body' && typeof loc[1] === 'string' && FIELD.test(loc[1])) found.push(loc[1]);
    for (const item of Object.values(value)) walk(item, depth + 1);
  };
  walk(document, 0);
  return [...new Set(found)];
}

/**
 * Shapes that an error asks for: the fields that it names as missing, else the usual ones that its words name. Of
 * several missing fields one takes the attack and the others an id.
 */
export function shapesOfError(text: string): RequestShape[] {
  const located = locatedFields(jsonOf(text));
  if (located.length > 0) {
    const attacked = MESSAGE_FIELDS.find((name) => located.includes(name)) ?? located[0];
    if (located.length === 1 && attacked === 'messages') return [CHAT];
    return [Object.fromEntries(located.map((name) => [name, name === attacked ? ATTACK : '{{id}}']))];
  }
  const words = new Set(text.slice(0, 4000).match(/[A-Za-z_]\w*/g) ?? []);
  if (words.has('messages')) return [CHAT];
  // "message" is a usual key of errors themselves.
  return MESSAGE_FIELDS.filter((name) => name !== 'message' && words.has(name)).map((name) => ({ [name]: ATTACK }));
}

/** Keys of an answer's text, the surest first. */
const ANSWER_KEYS = [
  'reply',
  'answer',
  'response',
  'completion',
  'generated_text',
  'generation',
  'output_text',
  'output',
  'content',
  'text',
  'delta',
  'message',
  'result',
  'token',
];

/** Keys whose texts are never an answer. */
const OTHER_KEYS =
  /^(?:uuid|role|model|status|type|object|created.*|updated.*|.*time.*|date|error.*|detail|code|finish.*|stop.*|version|prompt|input|question|query|user.*|url|lang.*|event)$/i;

const ID_KEY = /(?:^id|_id|[a-z]I[dD])$/;

export interface FoundAnswer {
  /** JSONPath; undefined where the whole body is the answer. */
  readonly path: string | undefined;
  readonly text: string;
}

/** Whether a path can be written down: half a surrogate pair in a key has no form in JSONPath. */
function leadsTo(path: string, document: unknown, text: string): boolean {
  try {
    return parseJsonPath(path, 'answer').first(document) === text;
  } catch {
    return false;
  }
}

/** Where the answer to `prompt` seems to be in a document; undefined when nothing in it looks like one. */
export function findAnswer(document: unknown, prompt: string): FoundAnswer | undefined {
  const rank = (key: string): number => {
    const found = ANSWER_KEYS.indexOf(key.toLowerCase());
    return found < 0 ? ANSWER_KEYS.length : found;
  };
  const candidates = textLeaves(document)
    .filter(
      ({ key, text }) => text.trim() !== '' && text.trim() !== prompt && !OTHER_KEYS.test(key) && !ID_KEY.test(key),
    )
    .filter(({ key, text }) => rank(key) < ANSWER_KEYS.length || /\s/.test(text.trim()));
  const best = candidates
    .sort((a, b) => rank(a.key) - rank(b.key) || b.text.length - a.text.length)
    .find(({ path, text }) => leadsTo(path, document, text));
  return best && { path: best.path, text: best.text };
}

const TOKEN_KEYS = /^(?:completion_?tokens|output_?tokens|generated_?tokens|eval_count|tokens)$/i;

/** Where a document counts the tokens of its answer; undefined when it does not. */
export function findTokens(document: unknown): string | undefined {
  return valueLeaves(document).find(({ key, value }) => TOKEN_KEYS.test(key) && Number.isSafeInteger(value))?.path;
}

/** The JSON of a text; undefined when it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
