// The live view: running calls, totals, the last hour.

import { callPath, feed, get, post } from './api.js';
import { confirmed, errorBox, foreign, h, meter, setText } from './dom.js';
import * as format from './format.js';
import { listener } from './listen.js';
import { plot } from './plot.js';

/** More rows than these help nobody; the filter finds the others. */
const ROWS_MAX = 1000;
/** The plots' points are asked for anew this often; between them the last second's is shown. */
const HISTORY_MS = 60_000;

/** Asks, and hangs up. */
export async function hangUp(call, onproblem) {
  if (!(await confirmed(`Hang up the call of ${format.caller(call)}?`, 'Hang up'))) return;
  try {
    await post(callPath(call.id, '/hangup'));
  } catch (problem) {
    onproblem(`The call of ${format.caller(call)} was not hung up: ${problem.message}`);
  }
}

export function openLive(root) {
  const problem = h('div');
  const say = (text) => problem.replaceChildren(errorBox(text));
  const totals = totalsCards();
  const relay = standing();
  const table = callsTable(say);
  const answers = plot('Answer latency', 'ms', [['answer_ms_p50', 'p50', 'first'], ['answer_ms_max', 'max', 'second']],
    'From the caller’s last word to the first of the answer');
  const lateness = plot('Jitter (lateness)', 'ms', [['lateness_ms_p50', 'p50', 'first'], ['lateness_ms_p99', 'p99', 'second']],
    'How late frames leave the relay’s 20 ms grid');
  root.append(h('h1', { tabindex: -1 }, 'Live'), problem, totals.element, relay.element,
    h('section', { 'aria-labelledby': 'running' },
      h('div', { class: 'section-head' }, h('h2', { id: 'running' }, 'Running calls'), table.tools), table.element),
    h('section', { 'aria-labelledby': 'hour' }, h('h2', { id: 'hour' }, 'The last hour'),
      h('div', { class: 'plots' }, answers.element, lateness.element)));

  let points = [];
  const draw = () => [answers, lateness].forEach((each) => each.update(points));
  const ask = async () => {
    try {
      ({ points } = await get('/api/history'));
      draw();
    } catch (error) {
      if (points.length === 0) say(`The last hour is not known: ${error.message}`);
    }
  };
  const onCalls = () => table.update(feed.calls);
  const onTotals = ({ detail }) => {
    totals.update(detail);
    relay.update(detail.relay);
    points = [...points.filter(({ now }) => !now), { ...detail, now: true }];
    draw();
  };
  const onState = () => feed.state === 'up' && ask();
  feed.addEventListener('calls', onCalls);
  feed.addEventListener('totals', onTotals);
  feed.addEventListener('state', onState);
  listener.addEventListener('change', onCalls);
  const timer = setInterval(() => feed.state === 'up' && ask(), HISTORY_MS);
  if (feed.calls) onCalls();
  if (feed.totals) onTotals({ detail: feed.totals });
  ask();
  return () => {
    clearInterval(timer);
    feed.removeEventListener('calls', onCalls);
    feed.removeEventListener('totals', onTotals);
    feed.removeEventListener('state', onState);
    listener.removeEventListener('change', onCalls);
    answers.close();
    lateness.close();
  };
}

function totalsCards() {
  const card = (label, title) => {
    const value = h('dd', {}, '–');
    return { element: h('div', { class: 'total', title }, h('dt', {}, label), value), set: (text) => setText(value, text) };
  };
  const active = card('Calls now');
  const all = card('Calls taken', 'Since the relay started');
  const answer = card('Answer latency, p50', 'From the caller’s last word to the first of the answer');
  const lateness = card('Lateness, p99', 'How late frames leave the relay’s 20 ms grid');
  const underruns = card('Underruns', 'Times that a caller’s playout ran dry in the middle of speech');
  const lost = card('Lost frames', 'Frames of callers that had no room');
  return {
    element: h('dl', { class: 'totals' }, [active, all, answer, lateness, underruns, lost].map(({ element }) => element)),
    update(point) {
      active.set(format.count(point.active));
      all.set(format.count(point.calls_total));
      answer.set(format.ms(point.answer_ms_p50));
      lateness.set(format.ms(point.lateness_ms_p99));
      underruns.set(format.count(point.underruns));
      lost.set(format.count(point.lost_frames));
    },
  };
}

/** Refusals by their words (src/telemetry/refusal.rs) that a supervisor would ask about; the others are connections that were no calls. */
const REFUSED = { calls: 'all places taken', overloaded: 'machine overloaded', rate: 'too many at once', draining: 'relay ending', no_capacity: 'no credential has room', credentials: 'no credential works', route: 'by a route', token: 'wrong token', not_expected: 'not announced' };

/** Since when there are totals, room for more, refused calls, credentials: one line. */
function standing() {
  const element = h('p', { class: 'counts standing' });
  let before = '';
  return {
    element,
    update(relay) {
      const now = JSON.stringify(relay ?? null);
      if (!relay || now === before) return;
      before = now;
      const refused = Object.entries(relay.refused).filter(([word]) => REFUSED[word]);
      const broken = relay.credentials.filter(({ usable }) => !usable);
      const sign = (kind, text) => h('span', { class: `verdict ${kind}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, { good: '✓', fair: '!', bad: '✕' }[kind]), text);
      element.replaceChildren(h('span', { class: 'quiet' }, `Counted since ${format.time(relay.began_at)}`),
        relay.draining ? sign('bad', 'takes no new calls: the relay is to end') : sign(relay.headroom > 0 ? 'good' : 'bad', `room for ${format.count(relay.headroom)} more calls`),
        refused.length === 0 ? sign('good', 'no call refused') : sign('fair', `refused: ${refused.map(([word, count]) => `${REFUSED[word]} ${format.count(count)}`).join(', ')}`),
        broken.length === 0 ? sign('good', relay.credentials.length === 1 ? 'the credential works' : `all ${relay.credentials.length} credentials work`)
          : sign('bad', `${broken.length} of ${relay.credentials.length} credentials left alone: ${broken.map(({ name }) => name).join(', ')}`),
        ['ok', 'off'].includes(relay.store) ? '' : sign(relay.store === 'failing' ? 'bad' : 'fair', relay.store === 'failing' ? 'records are being lost' : 'records wait on disk for the database'));
    },
  };
}

/** Orders of the list; equal ones by their beginning. */
const ORDERS = {
  offered_at: ['when they began', (a, b) => (a.offered_at < b.offered_at ? -1 : 1)],
  agent: ['agents', (a, b) => a.agent.localeCompare(b.agent)],
  answer: ['who waits longest', (a, b) => (b.answer_ms_max ?? 0) - (a.answer_ms_max ?? 0)],
  trouble: ['trouble first', (a, b) => trouble(b) - trouble(a)],
};
const trouble = (call) => (call.state === 'live' ? 0 : 2) + (call.underruns > 0 || call.gap_ms_max > 0 ? 1 : 0);

const COLUMNS = ['Caller', 'Number called', 'Agent', 'State', 'Time', 'Speaking', 'Answer p50', 'Actions'];

function callsTable(say) {
  const body = h('tbody', { role: 'rowgroup' });
  const empty = h('p', { class: 'empty' }, 'Waiting for the relay …');
  const more = h('p', { class: 'quiet', hidden: true });
  const filterInput = h('input', { id: 'filter', type: 'search', placeholder: 'caller, number, agent', size: 20 });
  const order = h('select', { id: 'order' }, Object.entries(ORDERS).map(([value, [label]]) => h('option', { value }, label)));
  const tools = h('p', { class: 'buttons' }, h('label', { class: 'filter' }, 'Order by ', order), h('label', { class: 'filter' }, 'Filter ', filterInput));
  const table = h('table', { class: 'calls live', role: 'table' },
    h('caption', { class: 'unseen' }, 'Running calls'),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, COLUMNS.map((name) => h('th', { scope: 'col', role: 'columnheader' }, name)))), body);
  const rows = new Map();
  let latest = [];

  const update = (calls) => {
    latest = calls ?? [];
    const wanted = filterInput.value.trim().toLowerCase();
    const fits = ({ caller, did, agent, uuid }) =>
      wanted === '' || [caller, did, agent, uuid].some((value) => value?.toLowerCase().includes(wanted));
    const [, first] = ORDERS[order.value];
    const found = latest.filter(fits).sort((a, b) => first(a, b) || ORDERS.offered_at[1](a, b));
    const shown = found.slice(0, ROWS_MAX);
    const ids = new Set(shown.map(({ id }) => id));
    for (const [id, row] of rows) {
      if (ids.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    for (const head of body.querySelectorAll('tr.agent-head')) head.remove();
    let place = 0;
    let agent = null;
    const grouped = order.value === 'agent';
    const many = Map.groupBy ? Map.groupBy(shown, (call) => call.agent) : new Map();
    shown.forEach((call) => {
      if (grouped && call.agent !== agent) {
        agent = call.agent;
        body.insertBefore(h('tr', { role: 'row', class: 'agent-head' }, h('th', { role: 'rowheader', scope: 'rowgroup', colspan: COLUMNS.length },
          foreign(agent), h('span', { class: 'quiet' }, ` ${many.get(agent)?.length ?? ''}`))), body.children[place] ?? null);
        place += 1;
      }
      if (!rows.has(call.id)) rows.set(call.id, callRow(call, say));
      const row = rows.get(call.id);
      if (body.children[place] !== row.element) body.insertBefore(row.element, body.children[place] ?? null);
      row.update(call);
      place += 1;
    });
    table.hidden = shown.length === 0;
    empty.hidden = shown.length > 0;
    setText(empty, latest.length === 0 ? 'No call is running.' : 'No running call fits the filter.');
    more.hidden = found.length <= ROWS_MAX;
    setText(more, `${found.length - ROWS_MAX} more calls are running: filter to see them.`);
  };
  for (const input of [filterInput, order]) input.addEventListener('input', () => update(latest));
  table.hidden = true;
  return { element: h('div', { class: 'card scrolls tall', tabindex: 0, role: 'region', 'aria-label': 'Running calls' }, table, empty, more), tools, update };
}

function callRow(call, say) {
  const cell = (label, ...children) => h('td', { role: 'cell', 'data-label': label }, ...children);
  const name = foreign(call.caller || 'unknown');
  const link = h('a', { href: `#/call/${encodeURIComponent(call.id)}` }, name);
  const did = foreign('');
  const agent = foreign('');
  const state = h('span', { class: 'state' });
  const time = cell('Time');
  time.className = 'number';
  const answer = cell('Answer p50');
  answer.className = 'number';
  const caller = meter('Caller’s level', 'caller');
  const model = meter('Agent’s level', 'agent');
  const who = h('span', { class: 'who' });
  let current = call;
  const listen = h('button', { onclick: () => (listener.call?.id === call.id ? listener.stop() : listener.start(current)) }, 'Listen');
  const hang = h('button', { class: 'danger', onclick: () => hangUp(current, say) }, 'Hang up');
  // Hanging up is not beside what is pressed all the time.
  const opener = h('summary', {}, '⋯');
  const menu = h('details', { class: 'menu' }, opener, hang);
  const recorded = h('span', { class: 'recorded', hidden: true });
  const element = h('tr', { role: 'row' },
    h('th', { role: 'rowheader', scope: 'row' }, link, recorded),
    cell('Number called', did), cell('Agent', agent), cell('State', state), time,
    cell('Speaking', h('span', { class: 'meters' }, caller.element, model.element), who), answer,
    h('td', { role: 'cell', class: 'actions' }, h('span', { class: 'buttons' }, listen, menu)));
  return {
    element,
    update(next) {
      current = next;
      const from = format.caller(next);
      setText(name, next.caller || 'unknown');
      setText(did, format.text(next.did));
      setText(agent, format.text(next.agent));
      setText(state, format.state(next.state));
      state.dataset.state = next.state;
      setText(time, format.duration(next.duration_s));
      setText(answer, format.ms(next.answer_ms_p50));
      caller.set(next.caller_level_dbfs, next.caller_speaking);
      model.set(next.agent_level_dbfs, next.agent_speaking);
      setText(who, speaking(next));
      recorded.hidden = !next.recorded;
      recorded.className = next.recording_paused ? 'recorded paused' : 'recorded';
      setText(recorded, next.recording_paused ? 'recording paused' : 'recorded');
      const listening = listener.call?.id === next.id;
      setText(listen, listening ? 'Stop listening' : 'Listen');
      listen.setAttribute('aria-label', listening ? `Stop listening to ${from}` : `Listen to ${from}`);
      hang.setAttribute('aria-label', `Hang up ${from}`);
      opener.setAttribute('aria-label', `More for ${from}`);
    },
  };
}

/** Who speaks now, in words. */
export function speaking(call) {
  if (call.caller_speaking && call.agent_speaking) return 'both';
  if (call.caller_speaking) return 'caller';
  return call.agent_speaking ? 'agent' : 'silence';
}
