import type { HttpReply } from '../wire/http-client.ts';
import { type JsonPath, pathsOfTexts } from '../wire/json-path.ts';
import { excerpt, excerptOfValue, WireFailure } from '../wire/wire-failure.ts';
import { parseEventStream } from './event-stream.ts';
import { estimateTokens } from './openai-protocol.ts';
import { refusedAnswer } from './remote-target.ts';
import type { TargetAnswer } from './target.ts';

/** Where an app's answer is in its reply. */
export interface ReplyPaths {
  /** The whole body when absent. */
  readonly answer: JsonPath | undefined;
  /** Each piece of the text, in server-sent events. */
  readonly sse: JsonPath | undefined;
  readonly tokens: JsonPath | undefined;
  readonly refusedPath: JsonPath | undefined;
  /** Texts of an answer that is a refusal. */
  readonly refusedTexts: readonly string[];
}

/** A reply as it is read: its documents, and what is found in them. */
interface Read {
  readonly documents: readonly unknown[];
  /** The text, or why there is none. */
  readonly text: string | WireFailure;
}

function find(path: JsonPath, document: unknown): unknown {
  try {
    return path.first(document);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WireFailure('protocol', `${path.text} cannot be looked for: ${reason}`, { isTransient: false, cause });
  }
}

function notFound(key: string, path: JsonPath, found: unknown, documents: readonly unknown[], text: string) {
  const what = found === undefined ? 'finds nothing' : `finds ${excerptOfValue(found)}, expected a text`;
  const paths = documents.map(pathsOfTexts).find((each) => each.length > 0) ?? [];
  const others = paths.length === 0 ? '' : `; texts are at ${paths.join(', ')}`;
  return new WireFailure('protocol', `${key}: ${path.text} ${what} in ${excerpt(text)}${others}`, {
    isTransient: false,
    body: text,
  });
}

function readEvents(path: JsonPath, { text }: HttpReply): Read {
  const events = parseEventStream(text);
  const broken = events.find(({ name }) => name === 'error');
  if (broken !== undefined)
    throw new WireFailure('protocol', `the stream ended with an error: ${excerpt(broken.data)}`, { isTransient: true });
  const documents = events.map(({ data }) => jsonOr(data));
  // `$` is the data as it is: "5" is a text there, and no number.
  const found = path.text === '$' ? events.map(({ data }) => data) : documents.map((each) => find(path, each));
  const pieces = found.filter((each) => typeof each === 'string');
  const missing = (): WireFailure =>
    notFound(
      'target.sse',
      path,
      found.find((each) => each !== undefined),
      documents,
      text,
    );
  return { documents, text: pieces.length === 0 ? missing() : pieces.join('') };
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function readDocument({ answer, tokens, refusedPath }: ReplyPaths, { text, contentType, status }: HttpReply): Read {
  if (answer === undefined && tokens === undefined && refusedPath === undefined) return { documents: [], text };
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    const type = contentType === '' ? 'no content type' : contentType;
    throw new WireFailure('protocol', `answered ${status} with ${type}, expected JSON: ${excerpt(text)}`, {
      isTransient: true,
      cause,
      body: text,
    });
  }
  if (answer === undefined) return { documents: [document], text };
  const found = find(answer, document);
  const documents = [document];
  return {
    documents,
    text: typeof found === 'string' ? found : notFound('target.answer', answer, found, documents, text),
  };
}

function refusalOf({ refusedPath, refusedTexts }: ReplyPaths, { documents, text }: Read): string | undefined {
  if (refusedPath !== undefined && documents.some((document) => find(refusedPath, document)))
    return `the app refused: ${refusedPath.text}`;
  const lower = typeof text === 'string' ? text.toLowerCase() : '';
  const found = refusedTexts.find((part) => lower.includes(part.toLowerCase()));
  return found === undefined ? undefined : `the app refused: ${found}`;
}

/** The answer in a reply. @throws WireFailure for one in which the answer is not found. */
export function readHttpReply(paths: ReplyPaths, reply: HttpReply, maxNewTokens: number): TargetAnswer {
  const read = paths.sse === undefined ? readDocument(paths, reply) : readEvents(paths.sse, reply);
  const refusal = refusalOf(paths, read);
  if (refusal !== undefined) return refusedAnswer(refusal);
  const { text, documents } = read;
  if (text instanceof WireFailure) throw text;
  const { tokens } = paths;
  const counts = tokens === undefined ? [] : documents.map((document) => find(tokens, document));
  const counted = counts.findLast(Number.isSafeInteger);
  const usage =
    counted === undefined
      ? { calls: 1, tokens: estimateTokens(text), isEstimated: true as const }
      : { calls: 1, tokens: Math.max(1, counted as number) };
  return { kind: 'text', text, truncated: counted !== undefined && usage.tokens >= maxNewTokens, usage };
}
