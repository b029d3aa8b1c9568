// Why a call went as it did, in sentences: from its record, what was said and what happened.

import * as format from './format.js';

/** What happened, in words; where there is none, the relay's own word does. */
const EVENTS = {
  answered: 'the model was ready',
  link_lost: 'connection to the model lost',
  link_failed: 'connection to the model failed',
  resumed: 'connected again, the conversation goes on',
  fresh_session: 'conversation begun anew, told of the old one',
  go_away: 'the model announced the end of its connection',
  barge_in: 'the caller interrupted',
  empty_turn: 'the model answered nothing',
  turn_complete_reason: 'why the model ended its turn',
  progress_overdue: 'the model said it was at work, and nothing came',
  unplayed: 'the switch did not play what was sent',
  unheard: 'nothing of what was sent is confirmed as heard',
  watchdog_commit: 'no answer: told the model that the caller has spoken',
  watchdog_nudge: 'no answer: told the model that the caller waits',
  watchdog_resumption: 'no answer: changed the connection',
  watchdog_session: 'no answer: began the conversation anew',
  watchdog_healed: 'the model answered again',
  given_up: 'given up',
  tool: 'tool called',
  tool_done: 'tool done',
  tool_failed: 'tool failed',
  tool_timed_out: 'tool had no result in time',
  tool_cancelled: 'tool cancelled by the model',
  tool_withdrawn: 'not carried out, because the caller went on speaking',
  tool_repeated: 'tool called again, answered with the first result',
  tool_refused: 'tool called too often',
  command_done: 'order carried out',
  command_failed: 'order failed',
  key: 'key pressed',
  leg_held: 'the line was closed, and is waited for',
  leg_lost: 'the line was lost, and is waited for',
  leg_back: 'the line is back',
  sent_away: 'sent to another relay',
  answering_machine: 'an answering machine',
  hung_up: 'hung up',
  recording_failed: 'the recording failed',
};
/** The model's own words for why it ended a turn, where they tell a supervisor something. */
const REASONS = {
  RESPONSE_REJECTED: 'the model’s answer was refused by its safety filter',
  NEED_MORE_INPUT: 'the model waited for the caller to go on',
};
const SEVERE = /^(link_lost|link_failed|fresh_session|watchdog_(?!healed)|tool_(failed|timed_out|refused)|command_failed|given_up|unplayed|unheard|recording_failed|empty_turn|leg_lost)/;

/** The events as they are to be read: a line that ends with its call was hung up, and not lost. */
export function events(call) {
  const list = call.events ?? [];
  const ended = call.outcome === 'hangup' && !call.live;
  return list.map((event, at) => {
    const last = ended && ['leg_held', 'leg_lost'].includes(event.kind) && !list.slice(at + 1).some(({ kind }) => kind === 'leg_back');
    const reason = event.kind === 'turn_complete_reason' ? REASONS[event.detail] : undefined;
    return {
      ...event,
      words: last ? 'the caller hung up' : reason ?? EVENTS[event.kind] ?? format.words(event.kind),
      severe: !last && (SEVERE.test(event.kind) || event.detail === 'RESPONSE_REJECTED'),
    };
  });
}

/** A shorter time between two turns tells nothing: the end of the caller's speech is noticed about as much later. */
const NOTICED_MS = 500;

/** How long the caller waited for each turn of the agent, by its place in the transcript; undefined where it is not known or short. */
export function waits(transcript) {
  let asked = null;
  return transcript.map((turn) => {
    if (turn.speaker === 'caller') {
      asked = turn.end_ms;
      return undefined;
    }
    const from = asked;
    asked = null;
    return from === null || turn.start_ms < from + NOTICED_MS ? undefined : { from, ms: turn.start_ms - from };
  });
}

function slowest(call, list) {
  const longest = waits(call.transcript ?? []).filter(Boolean).reduce((most, one) => (most && most.ms >= one.ms ? most : one), undefined);
  // What was heard is measured; what was transcribed says where.
  const waited = format.ms(call.answer_ms_max ?? longest?.ms);
  if (!longest) return `The caller waited up to ${waited} for an answer.`;
  const within = list.filter(({ at_ms }) => at_ms >= longest.from && at_ms <= longest.from + longest.ms);
  const has = (pattern) => within.find(({ kind }) => pattern.test(kind));
  const tool = has(/^tool$/);
  let why = 'the model took that long';
  if (has(/^watchdog_/)) why = 'the model did not answer, the relay asked again';
  else if (has(/^link_|^fresh_session|^resumed/)) why = 'the connection to the model was lost meanwhile';
  else if (tool) why = `the tool ${format.text(tool.detail)} was being carried out`;
  return `The caller waited ${waited} at ${format.position(longest.from)}: ${why}.`;
}

/** What a supervisor wants to know first. */
export function summary(call) {
  const list = events(call);
  const found = new Set(call.problems ?? []);
  const first = (pattern) => list.find(({ kind }) => pattern.test(kind));
  const at = (event) => (event ? `At ${format.position(event.at_ms)} ` : '');
  const said = [];
  if (found.has('refused')) said.push(`The call was refused: ${format.text(call.reason)}.`);
  if (found.has('silence')) said.push('The caller spoke and never heard an answer.');
  if (found.has('slow_answer')) said.push(slowest(call, list));
  else if (found.has('healed')) said.push(`${at(first(/^watchdog_/)) || 'Once '}the model did not answer, the relay asked again and it did.`);
  if (found.has('resumed')) {
    const lost = first(/^link_lost/);
    const anew = call.fresh_sessions > 0 ? ', and the conversation was begun anew' : '';
    said.push(`${at(lost) || 'In the call '}the connection to the model was lost, for ${format.ms(call.gap_ms_max)} at the longest${anew}.`);
  }
  if (found.has('gaps')) said.push(`The agent’s voice had gaps of ${format.ms(Math.max(call.underrun_ms ?? 0, call.switch_gap_ms ?? 0))} together.`);
  if (found.has('tool_failed')) {
    const failed = first(/^tool_(failed|timed_out|refused)/);
    said.push(failed ? `${at(failed)}the tool ${format.text(failed.detail)} ${failed.kind === 'tool_timed_out' ? 'had no result in time' : 'failed'}.` : `${call.tools_failed} calls of tools failed.`);
  }
  if (found.has('cost')) said.push(`It cost ${format.money(call.cost, call.cost_currency)}, which is above the limit.`);
  if (found.has('model_fault') || found.has('abnormal_end')) said.push(`It did not end as calls do: ${format.text(call.reason)}.`);
  const rejected = list.find(({ detail }) => detail === 'RESPONSE_REJECTED');
  if (rejected) said.push(`${at(rejected)}the model’s answer was refused by its safety filter.`);
  if (said.length === 0) {
    const answers = call.answer_ms_p50 === null || call.answer_ms_p50 === undefined ? '' : `, answers after ${format.ms(call.answer_ms_p50)} mostly and ${format.ms(call.answer_ms_max)} at most`;
    said.push(`${format.count(call.turns)} ${call.turns === 1 ? 'turn' : 'turns'} of the agent in ${format.duration(call.duration_s)}${answers}.`);
  }
  return said.join(' ');
}
