// Agents, numbers, models and credentials side by side for a span of time.

import { get } from './api.js';
import { errorBox, foreign, h } from './dom.js';
import { PERIODS, span } from './calls.js';
import * as format from './format.js';

const WHAT = { agent: 'Agents', did: 'Numbers called', model: 'Models', credential: 'Credentials' };
const percent = (share) => (share === null || share === undefined ? '–' : `${Math.round(share * 100)} %`);
const COLUMNS = [
  ['Calls', ({ calls }) => format.count(calls)],
  ['With problems', ({ with_problems, calls }) => `${format.count(with_problems)} (${percent(with_problems / calls)})`],
  ['Answer p50', ({ answer_ms_p50 }) => format.ms(answer_ms_p50), 'In half of the calls answers came within this time mostly'],
  ['Answer p90', ({ answer_ms_p90 }) => format.ms(answer_ms_p90), 'In nine of ten calls answers came within this time mostly'],
  ['Length', ({ duration_s_mean }) => format.duration(duration_s_mean), 'The mean length of a call'],
  ['Agent talks', ({ agent_talk_share }) => percent(agent_talk_share), 'The agent’s part of all that is said'],
  ['Interruptions', ({ barge_ins }) => format.count(barge_ins), 'Times that callers interrupted the agent'],
  ['Tools', ({ tools_called, tools_failed }) => (tools_failed > 0 ? `${format.count(tools_called)}, ${format.count(tools_failed)} failed` : format.count(tools_called))],
  ['Tokens in', ({ prompt_tokens }) => format.count(prompt_tokens)],
  ['Tokens out', ({ response_tokens }) => format.count(response_tokens)],
  ['Cost', ({ cost, cost_currency }) => format.money(cost, cost_currency), 'An estimate by the price table'],
];

export function openCompare(root, { query }) {
  const abort = new AbortController();
  const by = Object.hasOwn(WHAT, query.get('by')) ? query.get('by') : 'agent';
  const period = query.get('period') ?? 'week';
  const select = (name, label, chosen, options) => h('p', { class: 'field' }, h('label', { for: name }, label),
    h('select', { id: name, onchange: ({ target }) => (location.hash = `#/compare?${new URLSearchParams({ by, period, [name]: target.value })}`) },
      options.map(([value, words]) => h('option', { value, selected: value === chosen }, words))));
  const content = h('div', { class: 'card scrolls' }, h('p', { class: 'empty' }, 'Counting …'));
  root.append(h('h1', { tabindex: -1 }, 'Compare'),
    h('div', { class: 'card filters' }, select('by', 'Compare', by, Object.entries(WHAT)),
      select('period', 'When', period, [...Object.entries(PERIODS).map(([word, [label]]) => [word, label]), ['all', 'any time']])),
    content);
  const name = (line) => {
    const found = new URLSearchParams({ ...(['agent', 'did'].includes(by) ? { [by]: line.name } : {}), ...(period === 'all' ? {} : { period }) });
    return ['agent', 'did'].includes(by) && line.name ? h('a', { href: `#/calls?${found}` }, foreign(line.name)) : foreign(format.text(line.name));
  };
  get(`/api/report?${new URLSearchParams({ by, ...span(period) })}`, abort.signal).then(({ lines }) => {
    content.replaceChildren(lines.length === 0 ? h('p', { class: 'empty' }, 'No call ended in this time.')
      : h('table', { class: 'compare' }, h('caption', { class: 'unseen' }, WHAT[by]),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, WHAT[by]), COLUMNS.map(([label, , title]) => h('th', { scope: 'col', class: 'number', title }, label)))),
        h('tbody', {}, lines.map((line) => h('tr', {}, h('th', { scope: 'row' }, name(line)), COLUMNS.map(([, cell]) => h('td', { class: 'number' }, cell(line))))))));
  }).catch((error) => error.name !== 'AbortError' && content.replaceChildren(errorBox(error.message)));
  return () => abort.abort();
}
