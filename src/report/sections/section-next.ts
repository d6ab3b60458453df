import { isTunable } from '../../targets/registry.ts';
import { type Html, html } from '../words/html.ts';
import { isSyntheticWorld } from '../words/stage-words.ts';
import type { PageContent } from './page-content.ts';
import type { PageSection } from './page-section.ts';

/** One thing that a reader can do about the answer, with its commands. */
interface Step {
  readonly name: string;
  readonly why: string;
  readonly commands: readonly string[];
}

/** After a success: close it, block it, or accept it; then look whether it worked. */
function stepsAfterSuccess({ config, report }: PageContent): Step[] {
  const { name } = report.run;
  const close: Step = isTunable(config.target)
    ? {
        name: 'Close the ways',
        why: 'Tune the target to refuse the attacks that succeeded, and measure how useful it still is.',
        commands: [`floodgate tune ${name} --name ${name}-safe`, `floodgate robustness ${name}`],
      }
    : {
        name: 'Close the ways',
        why: 'This target is not tuned from here: change its model, its instructions or its filter. Then send the same attacks again.',
        commands: [`floodgate ci floodgate.yaml --baseline run:${name} --set gate.replayed=0.1`],
      };
  return [
    close,
    {
      name: 'Block them',
      why: 'Hand attacks, ways and verdicts to those who write the filter.',
      commands: [`floodgate export ${name} --format jsonl --show-attacks --out ${name}.jsonl`],
    },
    {
      name: 'Accept them for now',
      why: 'Keep the figures as a baseline. A pipeline then fails only when a way is new.',
      commands: [
        `floodgate ci floodgate.yaml --run ${name} --set gate.successRate=1 --save-baseline baseline.json`,
        'floodgate ci floodgate.yaml --baseline baseline.json --set gate.newWays=0',
      ],
    },
    {
      name: 'See what changed',
      why: 'After a change, run again and compare.',
      commands: [`floodgate compare ${name} ANOTHER-RUN`],
    },
  ];
}

/** After none: more attacks narrow the interval, more training finds what is rare. */
function stepsAfterNone(content: PageContent): Step[] {
  const { config, report, headline } = content;
  const attacks = Math.max(config.evaluation.attacks, headline?.metrics.asr?.n ?? 0);
  return [
    {
      name: 'Narrow the interval',
      why: 'Four times the attacks halve it.',
      commands: [`floodgate evaluate ${report.run.name} --attacks ${4 * attacks}`],
    },
    {
      name: 'Search longer',
      why: 'A rare way needs more calls while the attacker learns.',
      commands: [`floodgate run floodgate.yaml --set ${longerSearch(content)}`],
    },
  ];
}

/** The setting that makes an attacker learn longer; one that learns at all where none did. */
function longerSearch({ config, headline }: PageContent): string {
  const name = headline?.name ?? '';
  const learner = config.attackers.includes('gflownet') || name === 'smoothing' ? 'gflownet' : name;
  const { updates } = ((config as unknown as Record<string, unknown>)[learner] ?? {}) as { readonly updates?: number };
  return updates === undefined || learner === 'sft'
    ? "'attackers=[sft, gflownet]'"
    : `${learner}.updates=${4 * updates}`;
}

function stepItem({ name, why, commands }: Step): Html {
  return html`<li><h3>${name}</h3><p>${why}</p>${commands.map((command) => html`<p><code>${command}</code></p>`)}</li>`;
}

/** The next steps, each with its commands; absent in a synthetic world, where nobody needs protection. */
export function nextSection(content: PageContent): PageSection | undefined {
  const { headline } = content;
  const rate = headline?.metrics.asr?.value;
  if (headline === undefined || isSyntheticWorld(headline) || typeof rate !== 'number') return undefined;
  const steps = rate > 0 ? stepsAfterSuccess(content) : stepsAfterNone(content);
  return {
    id: 'next',
    title: 'Next steps',
    note: 'Choose one. floodgate.yaml means the config of this run.',
    body: html`<ul class="steps">${steps.map(stepItem)}</ul>`,
  };
}
