import { type ConfigKey, listConfigKeys } from './config-keys.ts';
import { configSchema } from './config-schema.ts';

/** Keys that stand elsewhere already: an evaluation judge has the keys of the training judge. */
const REPEATED_PREFIX = 'judges.evaluation[].';

function defaultCell({ defaultText, optional }: ConfigKey): string {
  if (defaultText !== undefined) return `\`${defaultText}\``;
  return optional ? '' : '**required**';
}

const escapeCell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** Returns the table of every config key, in Markdown: what docs/config.md holds. */
export function configReference(): string {
  const rows = listConfigKeys(configSchema)
    .filter(({ path }) => !path.startsWith(REPEATED_PREFIX))
    .map((key) => [`\`${key.path}\``, key.type, defaultCell(key), key.description ?? ''].map(escapeCell).join(' | '));
  return ['| key | type | default | meaning |', '|---|---|---|---|', ...rows.map((row) => `| ${row} |`)].join('\n');
}
