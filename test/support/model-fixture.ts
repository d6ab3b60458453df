import { type ProgressSink, silentProgress } from '../../src/base/progress.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';

export type ModelFixtureName = 'smollm2-135m-instruct' | 'minilm';

/** Says on standard error what is fetched: a first test run brings about 180 MB and must not look hung. */
const announceProgress: ProgressSink = {
  start: (label) => {
    process.stderr.write(`fetching a test model: ${label}\n`);
    return silentProgress.start(label, undefined, 'bytes');
  },
};

/**
 * Path of a real model: the `.gguf` file of SmolLM2, or the folder of MiniLM. Fetched once into the model cache
 * (`FLOODGATE_CACHE`), shared by all test processes.
 */
export async function modelFixture(name: ModelFixtureName): Promise<string> {
  const { path } = await pullModel(name, { progress: announceProgress });
  return path;
}
