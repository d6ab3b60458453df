import { expect, it } from 'vitest';
import { hideSecretsInUse, holdSecrets, redactSecrets } from '../../src/base/errors.ts';
import { looksSecret } from '../../src/wire/secrets.ts';

it('hides a secret as long as anybody holds it', () => {
  const [first, second] = [holdSecrets(), holdSecrets()];
  first.add('ticket-of-one-call');
  second.add('ticket-of-one-call');
  second.add('room-4711', true);
  expect(redactSecrets('ticket-of-one-call in room-4711')).toBe('[redacted] in [redacted]');
  expect(hideSecretsInUse('ticket-of-one-call in room-4711')).toBe('[redacted] in room-4711');
  first.release();
  first.release();
  expect(redactSecrets('ticket-of-one-call')).toBe('[redacted]');
  second.release();
  expect(redactSecrets('ticket-of-one-call in room-4711')).toBe('ticket-of-one-call in room-4711');
});

it('takes a value for a secret by its name, or as a long one without a space', () => {
  expect(looksSecret('sessionId', '4711')).toBe(true);
  expect(looksSecret('conversation', '4711')).toBe(false);
  expect(looksSecret('conversation', '0b9e3e0e-5f57-4a7e')).toBe(true);
  expect(looksSecret('greeting', 'Hello, how may I help you?')).toBe(false);
});
