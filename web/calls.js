// Past calls: what went wrong first; search, filters, sorting, counts, one page after the other.

import { get } from './api.js';
import { announce, errorBox, foreign, h } from './dom.js';
import * as format from './format.js';
import { PROBLEMS, verdict } from './verdict.js';

const PAGE = 50;
/** How calls end, for people; each stands for several of the relay's words (src/call/verdict.rs). */
const ENDINGS = { usual: 'as calls end', model: 'by a fault of the model', abnormal: 'abnormally', refused: 'refused', not_reached: 'nobody was reached' };
/** Spans of time by their beginning and end, as days from today's beginning. */
export const PERIODS = { today: ['today', 0, 1], yesterday: ['yesterday', -1, 0], week: ['the last 7 days', -6, 1], month: ['the last 30 days', -29, 1] };

/** Each column, and what it is sorted by where it can be. */
const COLUMNS = [['Caller', 'caller'], ['Verdict', 'verdict'], ['Number called', 'did'], ['Agent', 'agent'], ['Began', ''], ['Time', 'duration_s'],
  ['Turns', 'turns'], ['Answer p50', 'answer_ms_p50', 'Half of the answers came within this time after the caller’s last word'], ['Longest wait', 'answer_ms_max', 'The longest time that the caller waited for an answer'], ['Ended', 'outcome']];
/** What is seen first with the largest on top. */
const LARGEST_FIRST = new Set(['duration_s', 'turns', 'answer_ms_p50', 'answer_ms_max']);

let last = '#/calls';
/** The search that was looked at last. */
export const callsHash = () => last;

const midnight = (days) => {
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  day.setDate(day.getDate() + days);
  return day;
};

/** A span of time as the relay is asked for it; nothing for one that has no bounds. */
export function span(word) {
  const [, from, to] = PERIODS[word] ?? [];
  return from === undefined ? {} : { from: midnight(from).toISOString(), to: midnight(to).toISOString() };
}

/** What the relay is asked for. */
function asked(query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of query) {
    if (['from', 'to'].includes(name)) {
      const at = new Date(value);
      if (!Number.isNaN(at.getTime())) parameters.set(name, at.toISOString());
    } else if (name === 'period') {
      for (const [bound, at] of Object.entries(span(value))) parameters.set(bound, at);
    } else parameters.set(name, value);
  }
  return parameters;
}

export function openCalls(root, { query }) {
  last = location.hash || '#/calls';
  const abort = new AbortController();
  const hash = (changes) => {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
    return next.size > 0 ? `#/calls?${next}` : '#/calls';
  };
  const field = (name, label, attributes) => {
    const input = h('input', { id: name, name, value: query.get(name), ...attributes });
    return h('p', { class: name === 'q' ? 'field wide' : 'field' }, h('label', { for: name }, label), input);
  };
  const choice = (name, label, options) => h('p', { class: 'field' }, h('label', { for: name }, label),
    h('select', { id: name, name }, options.map(([value, words]) => h('option', { value, selected: (query.get(name) ?? '') === value }, words))));
  const agents = choice('agent', 'Agent', [['', 'every agent'], ...(query.get('agent') ? [[query.get('agent'), query.get('agent')]] : [])]);
  const own = query.has('from') || query.has('to');
  const from = field('from', 'From', { type: 'datetime-local' });
  const to = field('to', 'Until', { type: 'datetime-local' });
  const period = choice('period', 'When', [['', 'any time'], ...Object.entries(PERIODS).map(([word, [label]]) => [word, label]), ['own', 'from … until …']]);
  const when = period.querySelector('select');
  if (own) when.value = 'own';
  const showOwn = () => ([from, to].forEach((one) => {
    one.hidden = when.value !== 'own';
    one.querySelector('input').disabled = one.hidden;
  }));
  showOwn();
  when.addEventListener('change', showOwn);
  const keep = ['caller', 'did', 'outcome', 'sort'].filter((name) => query.has(name));
  const form = h('form', { class: 'card filters', role: 'search', 'aria-label': 'Past calls' },
    field('q', 'Search', { type: 'search', placeholder: 'part of a number, an agent’s name, words that were said' }),
    choice('problems', 'Problems', [['', 'all calls'], ['any', 'calls with problems'], ['none', 'good calls'], ...Object.entries(PROBLEMS)]),
    agents, choice('ending', 'Ended', [['', 'in any way'], ...Object.entries(ENDINGS)]), period, from, to,
    keep.map((name) => h('input', { type: 'hidden', name, value: query.get(name) })),
    h('p', { class: 'buttons' }, h('button', { class: 'primary' }, 'Search'), h('a', { class: 'button', href: '#/calls' }, 'Clear')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const chosen = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value !== '' && !(name === 'period' && value === 'own')));
    const wanted = chosen.size > 0 ? `#/calls?${chosen}` : '#/calls';
    // The same search again is a wish for what has come since.
    if (location.hash === wanted) window.dispatchEvent(new HashChangeEvent('hashchange'));
    else location.hash = wanted;
  });
  get('/api/agents', abort.signal).then(({ agents: known }) => {
    const select = agents.querySelector('select');
    for (const { name } of known) if (![...select.options].some(({ value }) => value === name)) select.append(h('option', { value: name }, name));
  }).catch(() => {});

  const body = h('tbody', { role: 'rowgroup' });
  const by = (query.get('sort') ?? '').replace(/^-/, '');
  const down = by === '' || query.get('sort').startsWith('-');
  const heading = ([name, column, title]) => {
    const is = column === by;
    const next = column === '' ? '' : is ? (down ? column : `-${column}`) : LARGEST_FIRST.has(column) ? `-${column}` : column;
    return h('th', { scope: 'col', role: 'columnheader', title, 'aria-sort': is ? (down ? 'descending' : 'ascending') : null },
      h('button', { class: 'sort', onclick: () => (location.hash = hash({ sort: next })) }, name));
  };
  const table = h('table', { class: 'calls past', role: 'table', hidden: true }, h('caption', { class: 'unseen' }, 'Past calls'),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, COLUMNS.map(heading))), body);
  const empty = h('p', { class: 'empty' }, 'Searching …');
  const problem = h('div');
  const counts = h('p', { class: 'counts', role: 'status' });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const exported = (kind, label) => h('a', { class: 'button', download: `calls.${kind}`, href: `/api/calls/export?${new URLSearchParams([...asked(query), ['format', kind]])}` }, label);
  const older = h('button', { hidden: true, onclick: () => ask() }, 'Show more calls');
  root.append(h('h1', { tabindex: -1 }, 'Calls'), form, problem,
    h('div', { class: 'section-head' }, counts, h('p', { class: 'buttons' }, exported('csv', 'Export CSV'), exported('jsonl', 'Export JSON lines'))),
    h('div', { class: 'card scrolls' }, table, empty), h('p', { class: 'more' }, older), h('p', { class: 'quiet' }, `Times are those of ${zone}.`));

  async function count() {
    try {
      const { lines } = await get(`/api/report?${new URLSearchParams([...asked(query), ['by', 'problems']])}`, abort.signal);
      const sum = (list) => list.reduce((all, { calls }) => all + calls, 0);
      const of = (word) => sum(lines.filter(({ name }) => name?.split(' ').includes(word)));
      const link = (word, text) => h('a', { href: hash({ problems: word }) }, text);
      const bad = sum(lines.filter(({ name }) => name));
      const found = Object.entries(PROBLEMS).map(([word, label]) => [word, label, of(word)]).filter(([, , calls]) => calls > 0).sort((a, b) => b[2] - a[2]);
      const all = sum(lines);
      counts.replaceChildren(h('strong', {}, `${format.count(all)} ${all === 1 ? 'call' : 'calls'}`),
        bad > 0 ? link('any', `${format.count(bad)} with problems`) : h('span', { class: 'quiet' }, 'none with problems'),
        ...found.map(([word, label, calls]) => link(word, `${label} ${format.count(calls)}`)));
    } catch (error) {
      if (error.name !== 'AbortError') counts.replaceChildren(h('span', { class: 'quiet' }, 'These calls cannot be counted now.'));
    }
  }

  let next = null;
  async function ask() {
    const parameters = asked(query);
    parameters.set('state', 'ended');
    parameters.set('limit', PAGE);
    if (next) parameters.set('before', next);
    older.disabled = true;
    try {
      const page = await get(`/api/calls?${parameters}`, abort.signal);
      const first = body.children.length;
      body.append(...page.calls.map(callRow));
      next = page.next;
      older.hidden = !next;
      older.disabled = false;
      table.hidden = body.children.length === 0;
      empty.hidden = body.children.length > 0;
      empty.textContent = query.size > 0 ? 'No call fits.' : 'No call has ended yet.';
      announce(`${body.children.length} calls shown`);
      if (first > 0) body.children[first]?.querySelector('a').focus();
      problem.replaceChildren();
    } catch (error) {
      if (error.name === 'AbortError') return;
      older.disabled = false;
      empty.hidden = true;
      problem.replaceChildren(errorBox(error.message));
    }
  }
  ask();
  count();
  return () => abort.abort();
}

function callRow(call) {
  const cell = (label, attributes, ...children) => h('td', { role: 'cell', 'data-label': label, ...attributes }, ...children);
  return h('tr', { role: 'row' },
    h('th', { scope: 'row', role: 'rowheader' }, h('a', { href: `#/call/${encodeURIComponent(call.id)}` }, foreign(call.caller || 'unknown')),
      call.recording ? h('span', { class: 'recorded' }, 'recorded') : null),
    cell('Verdict', { title: call.verdict }, verdict(call)),
    cell('Number called', {}, foreign(format.text(call.did))),
    cell('Agent', {}, foreign(format.text(call.agent))),
    cell('Began', { title: format.fullTime(call.offered_at) }, format.time(call.offered_at)),
    cell('Time', { class: 'number' }, format.duration(call.duration_s)),
    cell('Turns', { class: 'number' }, format.count(call.turns)),
    cell('Answer p50', { class: 'number' }, format.ms(call.answer_ms_p50)),
    cell('Longest wait', { class: 'number' }, format.ms(call.answer_ms_max)),
    cell('Ended', { title: call.reason }, `${format.words(call.outcome)}`, h('span', { class: 'quiet' }, ` by ${format.text(call.ended_by)}`)));
}
