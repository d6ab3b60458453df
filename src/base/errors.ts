/** Stable, documented error codes. The code names the kind of trouble; the message names the value. */
export type ErrorCode =
  | 'usage'
  | 'config'
  | 'format'
  | 'model'
  | 'source'
  | 'graph'
  | 'runtime'
  | 'target'
  | 'judge'
  | 'world'
  | 'store'
  | 'run'
  | 'interrupted';

export interface ErrorDetails {
  /** The command or config key that fixes it, shown below the message. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Values that never belong in a message: hub tokens, bearer headers, keys in a URL. */
const SECRET_PATTERNS: readonly RegExp[] = [
  /\bhf_[A-Za-z0-9]{8,}/g,
  /\bBearer\s+[^\s"']+/gi,
  /\bsk-[A-Za-z0-9_-]{8,}/g,
  /([?&](?:token|key|signature|sig|x-amz-[a-z-]+)=)[^&\s"']+/gi,
  /(\/\/)[^/\s@]+@/g,
];

/** Shortest secret that is looked for by its text: a shorter one would black out common words. */
const MIN_SECRET_LENGTH = 4;
const secretsInUse = new Set<string>();
const privateInUse = new Set<string>();

/** Keeps a secret that no pattern knows, such as a token in use, out of every later message. */
export function registerSecret(secret: string): void {
  if (secret.length >= MIN_SECRET_LENGTH) secretsInUse.add(secret);
}

/** Keeps a value out of messages that may be an ordinary word, such as the name of a tenant: model texts keep it. */
export function registerPrivate(value: string): void {
  if (value.length >= MIN_SECRET_LENGTH) privateInUse.add(value);
}

/** Secrets that end with their use, such as the session of one call: thousands of them must not pile up. */
export interface HeldSecrets {
  /** As `registerSecret`, until the release; `isPrivate`: as `registerPrivate`. */
  add(value: string, isPrivate?: boolean): void;
  /** Forgets the values, unless others hold them too. */
  release(): void;
}

/** How often each value is held. */
type Held = Map<string, number>;
const secretsHeld: Held = new Map();
const privateHeld: Held = new Map();

/** Holds secrets from their first use to the last text that may contain them. */
export function holdSecrets(): HeldSecrets {
  const own: (readonly [Held, string])[] = [];
  return {
    add(value, isPrivate = false) {
      if (value.length < MIN_SECRET_LENGTH) return;
      const held = isPrivate ? privateHeld : secretsHeld;
      held.set(value, (held.get(value) ?? 0) + 1);
      own.push([held, value]);
    },
    release() {
      for (const [held, value] of own.splice(0)) {
        const others = (held.get(value) ?? 1) - 1;
        if (others === 0) held.delete(value);
        else held.set(value, others);
      }
    },
  };
}

function hide(text: string, ...values: readonly Iterable<string>[]): string {
  let hidden = text;
  for (const group of values) for (const value of group) hidden = hidden.replaceAll(value, '[redacted]');
  return hidden;
}

/** Returns a model's text with every registered secret replaced by `[redacted]`, and nothing that looks like one. */
export function hideSecretsInUse(text: string): string {
  return hide(text, secretsInUse, secretsHeld.keys());
}

/** Returns `text` with every secret replaced by `[redacted]`. */
export function redactSecrets(text: string): string {
  let redacted = hide(hideSecretsInUse(text), privateInUse, privateHeld.keys());
  for (const pattern of SECRET_PATTERNS) {
    redacted = redacted.replace(pattern, (_match, lead: unknown) =>
      typeof lead === 'string' ? `${lead}[redacted]` : '[redacted]',
    );
  }
  return redacted;
}

/**
 * The one error class of Floodgate. Message form: *operation: what is wrong, got the value, expected what*.
 * Secrets are redacted when the error is built, so that no later printer can leak them.
 */
export class FloodgateError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(redactSecrets(message), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'FloodgateError';
    this.code = code;
    this.hint = details.hint === undefined ? undefined : redactSecrets(details.hint);
  }
}

/** Process exit codes: 0 done, 1 failure, 2 bad usage or config, 130 interrupted. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof FloodgateError)) return 1;
  switch (error.code) {
    case 'usage':
    case 'config':
      return 2;
    case 'interrupted':
      return 130;
    default:
      return 1;
  }
}
