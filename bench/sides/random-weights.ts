import { access, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type RandomStream, randomStream } from '../../src/base/random.ts';
import type { ExpectedTensor } from '../../src/models/checkpoint/expected-tensors.ts';
import { type StreamedTensor, writeSafetensorsStreamed } from '../../src/models/formats/safetensors.ts';
import { openSafetensorsStore, type WeightStore } from '../../src/models/formats/weight-store.ts';

const PIECE_VALUES = 1 << 20;
/** Half width of a uniform distribution whose standard deviation is GPT-2's 0.02. */
const BOUND = 0.02 * Math.sqrt(3);

function initialiser(shape: readonly number[], name: string, stream: RandomStream): () => number {
  if (shape.length > 1) return () => (2 * stream.nextFloat() - 1) * BOUND;
  return name.endsWith('.weight') ? () => 1 : () => 0; // norms start as the identity, biases at zero
}

function randomTensor([name, shape]: ExpectedTensor): StreamedTensor {
  const size = shape.reduce((product, length) => product * length, 1);
  const next = initialiser(shape, name, randomStream(0, 'bench', name));
  return {
    name,
    shape,
    pieces: async function* () {
      for (let done = 0; done < size; done += PIECE_VALUES) {
        yield Float32Array.from({ length: Math.min(PIECE_VALUES, size - done) }, next);
      }
    },
  };
}

/** A weight file of these tensors with random values, written below the model cache at the first call and found again by `name`. */
export async function randomWeights(
  cacheDir: string,
  name: string,
  tensors: Iterable<ExpectedTensor>,
): Promise<WeightStore> {
  const path = join(cacheDir, 'bench', name, 'weights.safetensors');
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    await mkdir(dirname(path), { recursive: true });
    await writeSafetensorsStreamed(path, [...tensors].map(randomTensor), new Map([['format', 'pt']]));
  }
  return openSafetensorsStore(path);
}
