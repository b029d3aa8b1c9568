// Past calls: search, filters, one page after the other.

import { get } from './api.js';
import { announce, errorBox, foreign, h } from './dom.js';
import * as format from './format.js';
import { PROBLEMS, verdict } from './verdict.js';

const PAGE = 50;
/** The relay's words for why a call ended: src/call/outcome.rs, and those of the model's side, src/codec/gemini/close.rs. */
const OUTCOMES = ['hangup', 'transferred', 'ordered_hangup', 'leg_closed', 'leg_dropped', 'leg_silent', 'leg_protocol', 'leg_closed_by_us',
  'dial_timeout', 'setup_timeout', 'model_silent', 'max_call', 'refused', 'token_limit', 'tool_limit', 'caller_silent', 'speech_overflow', 'moved', 'sent_away',
  'uuid_in_use', 'shutdown', 'normal', 'bad_key', 'key_expired', 'permission_denied', 'location_unsupported', 'model_not_found',
  'unsupported', 'invalid_argument', 'context_exhausted', 'quota', 'unavailable', 'aborted', 'deadline_expired', 'go_away_ignored',
  'internal', 'protocol', 'wrong_endpoint', 'dropped', 'no_credential', 'other'];

const COLUMNS = ['Caller', 'Verdict', 'Number called', 'Agent', 'Began', 'Time', 'Turns', 'Answer p50', 'Ended'];

export function openCalls(root, { query }) {
  const field = (name, label, attributes) => {
    const input = h('input', { id: name, name, value: query.get(name), ...attributes });
    return h('p', { class: name === 'q' ? 'field wide' : 'field' }, h('label', { for: name }, label), input);
  };
  const outcomes = [...new Set([...OUTCOMES, query.get('outcome')])].filter(Boolean);
  const form = h('form', { class: 'card filters', role: 'search', 'aria-label': 'Past calls' },
    field('q', 'Search', { type: 'search', placeholder: 'number, UUID or words that were said' }),
    field('caller', 'Caller'), field('did', 'Number called'), field('agent', 'Agent'),
    h('p', { class: 'field' }, h('label', { for: 'outcome' }, 'Ended by'),
      h('select', { id: 'outcome', name: 'outcome' }, h('option', { value: '' }, 'anything'),
        outcomes.map((name) => h('option', { value: name, selected: query.get('outcome') === name }, format.words(name))))),
    h('p', { class: 'field' }, h('label', { for: 'problems' }, 'Problems'),
      h('select', { id: 'problems', name: 'problems' },
        [['', 'all calls'], ['any', 'calls with problems'], ['none', 'good calls'], ...Object.entries(PROBLEMS)].map(([word, label]) =>
          h('option', { value: word, selected: (query.get('problems') ?? '') === word }, label)))),
    field('from', 'From', { type: 'datetime-local' }), field('to', 'Until', { type: 'datetime-local' }),
    h('p', { class: 'buttons' }, h('button', { class: 'primary' }, 'Search'), h('a', { class: 'button', href: '#/calls' }, 'Clear')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const chosen = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ''));
    const hash = chosen.size > 0 ? `#/calls?${chosen}` : '#/calls';
    // The same search again is a wish for what has come since.
    if (location.hash === hash) window.dispatchEvent(new HashChangeEvent('hashchange'));
    else location.hash = hash;
  });

  const body = h('tbody', { role: 'rowgroup' });
  const table = h('table', { class: 'calls past', role: 'table', hidden: true }, h('caption', { class: 'unseen' }, 'Past calls'),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, COLUMNS.map((name) => h('th', { scope: 'col', role: 'columnheader' }, name)))), body);
  const empty = h('p', { class: 'empty' }, 'Searching …');
  const problem = h('div');
  const older = h('button', { hidden: true, onclick: () => ask() }, 'Show older calls');
  root.append(h('h1', { tabindex: -1 }, 'Calls'), form, problem,
    h('div', { class: 'card scrolls' }, table, empty), h('p', { class: 'more' }, older));

  const abort = new AbortController();
  let next = null;
  async function ask() {
    const parameters = new URLSearchParams({ state: 'ended', limit: PAGE });
    for (const [name, value] of query) {
      const given = ['from', 'to'].includes(name) ? new Date(value) : value;
      parameters.set(name, given instanceof Date ? (Number.isNaN(given.getTime()) ? '' : given.toISOString()) : given);
    }
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
    cell('Ended', { title: call.reason }, `${format.words(call.outcome)}`, h('span', { class: 'quiet' }, ` by ${format.text(call.ended_by)}`)));
}
