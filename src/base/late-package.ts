import { createRequire } from 'node:module';

const requireHere = createRequire(import.meta.url);

/**
 * Returns a function that loads a package of ours when it is first called. A command that never calls it starts
 * without the package. Only for packages in CommonJS: they load at once.
 */
export function latePackage<T>(name: string): () => T {
  let loaded: T | undefined;
  return () => {
    loaded ??= requireHere(name) as T;
    return loaded;
  };
}
