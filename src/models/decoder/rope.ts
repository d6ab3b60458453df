import type { RopeScaling, Rotation } from '../checkpoint/rope-scaling.ts';

/** Llama 3's wavelength rule: long waves are stretched, short ones kept, those between interpolated. */
function llama3Frequency(frequency: number, scaling: Extract<RopeScaling, { kind: 'llama3' }>): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions: original } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > original / low) return frequency / factor;
  if (wavelength < original / high) return frequency;
  const smooth = (original / wavelength - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** YaRN (Peng et al. 2023): a linear ramp over dimensions between interpolated and original frequencies. */
function yarnFrequencies(base: number, half: number, scaling: Extract<RopeScaling, { kind: 'yarn' }>): number[] {
  const { factor, originalMaxPositions, betaFast, betaSlow } = scaling;
  const dimensionOf = (rotations: number): number =>
    (half * Math.log(originalMaxPositions / (rotations * 2 * Math.PI))) / Math.log(base);
  const low = Math.max(Math.floor(dimensionOf(betaFast)), 0);
  const high = Math.min(Math.ceil(dimensionOf(betaSlow)), 2 * half - 1);
  return Array.from({ length: half }, (_, i) => {
    const frequency = base ** (-i / half);
    const ramp = Math.min(Math.max((i - low) / Math.max(high - low, 0.001), 0), 1);
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
}

/** Angular frequency of each of the K/2 rotated pairs. */
export function ropeFrequencies(rotation: Rotation, headWidth: number): number[] {
  const half = headWidth / 2;
  const { ropeBase: base, ropeScaling: scaling } = rotation;
  const plain = Array.from({ length: half }, (_, i) => base ** (-i / half));
  switch (scaling.kind) {
    case 'none':
      return plain;
    case 'linear':
      return plain.map((frequency) => frequency / scaling.factor);
    case 'llama3':
      return plain.map((frequency) => llama3Frequency(frequency, scaling));
    case 'yarn':
      return yarnFrequencies(base, half, scaling);
  }
}

/** Cosine and sine tables [positions, K/2], scaled by YaRN's attention factor where it applies. */
export function ropeTables(
  { ropeBase, ropeScaling }: Rotation,
  headWidth: number,
  positions: number,
): { cosine: Float32Array; sine: Float32Array } {
  const frequencies = ropeFrequencies({ ropeBase, ropeScaling }, headWidth);
  const magnitude = ropeScaling.kind === 'yarn' ? ropeScaling.attentionFactor : 1;
  const half = frequencies.length;
  const cosine = new Float32Array(positions * half);
  const sine = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * (frequencies[i] as number);
      cosine[position * half + i] = Math.cos(angle) * magnitude;
      sine[position * half + i] = Math.sin(angle) * magnitude;
    }
  }
  return { cosine, sine };
}
