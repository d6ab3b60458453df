import { latePackage } from './late-package.ts';

/** The package that reads and writes YAML; loaded by the first command that does. */
export const yaml = latePackage<typeof import('yaml')>('yaml');
