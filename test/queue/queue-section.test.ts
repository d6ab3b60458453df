import { describe, expect, it } from 'vitest';
import { queueAddress } from '../../src/queue/connection.ts';
import { queueSection } from '../../src/queue/queue-section.ts';

const parse = (url: string) => queueSection.unwrap().safeParse({ url });
const addressOf = (url: string, env: Record<string, string> = {}, keys: { readonly passwordEnv?: string } = {}) =>
  queueAddress(queueSection.unwrap().parse({ url, ...keys }), env);

describe('the address of a queue', () => {
  it.each([
    'redis://127.0.0.1',
    'redis://host:6379/3',
    'rediss://user@host:6380',
    'redis://[::1]:1',
    'unix:///a/b.sock',
  ])('may be %s', (url) => expect(parse(url).success).toBe(true));

  it.each([
    ['redis://:secret@host', /no password.*FLOODGATE_QUEUE_PASSWORD/],
    ['redis://user:secret@host', /no password/],
    ['http://host', /redis:\/\/, rediss:\/\/ or unix/],
    ['host:6379', /redis:/],
    ['redis://', /address|host/],
    ['redis://host/key', /number of a database/],
    ['redis://host?password=x', /database/],
    ['unix://', /socket|address/],
    ['', /./],
  ])('may not be %s', (url, why) => {
    const { error } = parse(url);
    expect(error?.issues[0]?.message).toMatch(why);
    expect(error?.issues[0]?.message).not.toContain('secret');
  });

  it('takes its password from the environment', () => {
    const { connection, shown } = addressOf('rediss://user@far.example:6380/2', {
      FLOODGATE_QUEUE_PASSWORD: 'open sesame',
    });
    expect(connection).toMatchObject({
      host: 'far.example',
      port: 6380,
      db: 2,
      username: 'user',
      password: 'open sesame',
    });
    expect(connection.tls).toEqual({});
    expect(shown).not.toContain('sesame');
    expect(addressOf('redis://far.example').connection).not.toHaveProperty('password');
    expect(addressOf('redis://far.example').connection).not.toHaveProperty('tls');
  });

  it('takes its password from the variable that the config names, and from no other', () => {
    const both = { FLOODGATE_QUEUE_PASSWORD: 'open sesame', OTHER_REDIS: 'open barley' };
    const passwordOf = (env: Record<string, string>) =>
      addressOf('redis://far.example', env, { passwordEnv: 'OTHER_REDIS' }).connection.password;
    expect(passwordOf(both)).toBe('open barley');
    expect(passwordOf({ FLOODGATE_QUEUE_PASSWORD: 'open sesame' })).toBeUndefined();
  });

  it.each([
    ['redis://127.0.0.1', true],
    ['redis://localhost:7000', true],
    ['redis://[::1]', true],
    ['unix:///a.sock', true],
    ['redis://10.0.0.1', false],
    ['redis://localhost.example', false],
    ['rediss://far.example', false],
  ])('%s is of this machine: %s', (url, isLoopback) => expect(addressOf(url).isLoopback).toBe(isLoopback));
});
