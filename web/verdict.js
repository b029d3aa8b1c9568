// The verdict on a call: a sign, a word and a colour, each of which tells it alone.

import { foreign, h } from './dom.js';
import * as format from './format.js';

/** What was wrong, as the relay calls it (src/base/problem.rs), and as a supervisor does. */
export const PROBLEMS = {
  refused: 'refused',
  silence: 'caller not answered',
  slow_answer: 'slow answer',
  gaps: 'gaps in the agent’s voice',
  healed: 'agent stuck, then recovered',
  resumed: 'connection to the model lost',
  model_fault: 'ended by a fault of the model',
  abnormal_end: 'ended abnormally',
  tool_failed: 'tool failed',
  cost: 'cost above the limit',
};
/** Those after which the caller got no help. */
const SEVERE = new Set(['refused', 'silence', 'model_fault', 'abnormal_end']);

/** A call that has ended, as good or not; a dash while nobody has judged it. */
export function verdict(call) {
  if (!call.problems) return h('span', { class: 'quiet' }, format.text(call.verdict));
  const kind = call.problems.length === 0 ? 'good' : call.problems.some((one) => SEVERE.has(one)) ? 'bad' : 'fair';
  const sign = { good: '✓', fair: '!', bad: '✕' }[kind];
  return h('span', { class: `verdict ${kind}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, sign), foreign(format.text(call.verdict)));
}
