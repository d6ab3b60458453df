// The process of a whole run that a worker does: the worker tells it what to run, and it ends with the worker.
import { doRun, type RunMessage, type RunTask } from './run-task.ts';

const controller = new AbortController();

function say(message: RunMessage, sent: () => void = () => undefined): void {
  process.send?.(message, sent);
}

// A worker that is killed takes its run with it: another worker begins it again.
process.once('disconnect', () => process.exit(1));
process.on('message', (message: RunTask | 'stop') => {
  if (message === 'stop') controller.abort();
  else void doRun(message, controller.signal, say).then((end) => say(end, () => process.exit(0)));
});
