// A campaign with five parts of one's own: node examples/extending/run.mjs CONFIG RUNS_FOLDER
import { loadConfig, runCampaign, silentProgress } from 'floodgate';
import './attack-length.mjs';
import './crossover-stage.mjs';
import './huber-vargrad.mjs';
import './parrot-target.mjs';
import './shouting-judge.mjs';

const [file, runsFolder = 'runs'] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: node run.mjs CONFIG [RUNS_FOLDER]');

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const { report, pagePath } = await runCampaign(
  { config: await loadConfig(file), runsFolder, name: 'own-parts', ifTaken: 'number' },
  { progress: silentProgress, signal: stop.signal },
);
for (const { name, metrics } of report.stages) {
  console.log(`${name}: ASR ${metrics.asr?.value}, words an attack ${metrics.attackWords?.value}`);
}
console.log(`report: ${pagePath}`);
