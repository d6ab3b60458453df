import { z } from 'zod';
import { count, line, positiveCount } from '../base/config-fields.ts';
import { environmentName } from '../wire/wire-fields.ts';

/** Keys of the queues in Redis begin with it, so that several teams share one server. */
const PREFIX = 'floodgate';

/** Environment variables that hold the secrets of a queue. */
export const KEY_VARIABLE = 'FLOODGATE_QUEUE_KEY';
export const PASSWORD_VARIABLE = 'FLOODGATE_QUEUE_PASSWORD';

/** Why a text is no address of a queue; undefined where it is one. */
export function queueUrlProblem(text: string): string | undefined {
  if (!URL.canParse(text)) return 'must be an address such as redis://127.0.0.1:6379';
  const { protocol, password, hostname, pathname, search, hash } = new URL(text);
  if (protocol === 'unix:') return pathname.length > 1 ? undefined : 'must name a socket, e.g. unix:///run/redis.sock';
  if (!/^rediss?:$/.test(protocol)) return 'must begin with redis://, rediss:// or unix://';
  if (password !== '') return `must hold no password: the environment variable ${PASSWORD_VARIABLE} holds it`;
  if (hostname === '') return 'must name a host';
  if (search !== '' || hash !== '') return 'must end with the host, the port or the number of a database';
  return /^(\/\d{0,3})?$/.test(pathname) ? undefined : 'must end with the host, the port or the number of a database';
}

/** An address that holds no secret: it is stored with the run. */
export const queueUrl = line.refine((text) => queueUrlProblem(text) === undefined, {
  error: ({ input }) => queueUrlProblem(String(input)) ?? 'must be an address',
});

/** The section `queue` of a config. */
export const queueSection = z
  .strictObject({
    url: queueUrl.describe('Redis: redis://host:6379, rediss:// for TLS, or unix:///path of its socket'),
    passwordEnv: environmentName
      .default(PASSWORD_VARIABLE)
      .describe('environment variable that holds the password of Redis; none when it is not set'),
    caFile: line.optional().describe('PEM file of certificates that are trusted beside those of Node, for rediss://'),
    prefix: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must be lower case letters, digits and dashes')
      .default(PREFIX)
      .describe('begins every key in Redis; workers name the same one'),
    jobsAtOnce: positiveCount.max(65_536).default(256).describe('most jobs of this run in the queue'),
    runs: z
      .boolean()
      .default(false)
      .describe('true: studies of several runs give whole runs to workers, which ask target and judges themselves'),
    waitSeconds: count.max(86_400).default(60).describe('until the first worker takes a job; then the run stops'),
  })
  .optional()
  .describe('workers ask the target and the judges: floodgate worker --queue URL; FLOODGATE_QUEUE_KEY signs the jobs');

export type QueueConfig = NonNullable<z.output<typeof queueSection>>;
