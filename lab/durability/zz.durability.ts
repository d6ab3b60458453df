import { test } from 'vitest';
import { createScenes } from './scenes.ts';
test('x', async () => {
  const made = await createScenes();
  for (const scene of made.scenes.filter(({ name }) => ['world', 'transfer', 'rounds'].includes(name))) {
    scene.reset();
    const t = performance.now();
    const p = scene.goOn();
    const { code, stderr } = await p.outcome;
    process.stderr.write(`${scene.name} ${code} ${performance.now() - t} ms\n${code === 0 ? JSON.stringify(p.sections) : stderr.slice(-800)}\n`);
  }
  await made.remove();
});
