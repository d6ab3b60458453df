import { expect, it } from 'vitest';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { refuseUnportable } from '../../src/stages/campaign/portable-config.ts';
import { assertPublishable, type GflownetSection, gflownetSection } from '../../src/stages/gflownet-section.ts';
import { minimalConfigText } from './minimal-config.ts';

const sectionOf = (searches: string): GflownetSection => gflownetSection.schema.parse({ pipeline: { searches } });

it('a whole run on a worker has no workers of its own that search', () => {
  const wanted = ['queue.url=redis://127.0.0.1:6379', 'gflownet.pipeline.searches=workers'];
  const config = parseConfig(minimalConfigText, { fileName: 'own.yaml', folder: '/', overrides: wanted });
  expect(() => refuseUnportable({ ...config, queue: undefined })).toThrow(
    'gflownet.pipeline.searches: got workers, and the run is done by a worker',
  );
});

it('a whole run on a worker may start as the reference of its world, which a worker makes too', () => {
  const from = (name: string) =>
    parseConfig('world: {}\n', { fileName: 'own.yaml', folder: '/', overrides: [`attacker.from=${name}`] });
  expect(() => refuseUnportable(from('world'))).not.toThrow();
  expect(() => refuseUnportable(from('run:world'))).toThrow('attacker.from: got run:world, which is on one machine');
});

it('an attacker too large to be published at each update is refused where workers search', () => {
  const largest = 2 ** 28;
  expect(() => assertPublishable(sectionOf('workers'), largest)).not.toThrow();
  expect(() => assertPublishable(sectionOf('learner'), largest + 4)).not.toThrow();
  expect(() => assertPublishable(sectionOf('workers'), largest + 4)).toThrow(
    /^gflownet.pipeline.searches: got workers, which are sent 268435460 bytes at each update, expected at most 268435456/,
  );
});
