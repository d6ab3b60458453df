import { createRequire } from 'node:module';

/** Version of the ONNX Runtime package that does the arithmetic. */
export function runtimeVersion(): string {
  const require = createRequire(import.meta.url);
  return (require('onnxruntime-node/package.json') as { version: string }).version;
}
