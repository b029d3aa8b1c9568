// The operator's page in a real Chromium, on the real relay: what an operator sees, hears and presses.
//
// Runs with node's own test runner; see README.md. The tests follow each other on one relay: calls of the first are the
// past calls of the next.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser as chromium, callers, relay, simulator, stop, stopAll } from './processes.mjs';

const limit = { timeout: 40_000 };
const HOSTILE = '<img src=x onerror=alert(1)>';
const AGENTS = `
[verdict]
slow_answer_ms = 100
[agent]
transcript = true
record = true
[agents.reception]
voice = "Kore"
language = "en-GB"
`;

let gemini;
let main;
let chrome;

before(async () => {
  gemini = await simulator('--voice', 'parrot');
  main = await relay(gemini, AGENTS);
  chrome = await chromium();
}, limit);

after(async () => {
  await chrome?.close();
  await stopAll();
});

/** A page that must not say anything on its console, nor break. */
async function open(hash, { base = main.page, expected = /^$/, ...options } = {}) {
  const page = await chrome.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(15_000);
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(String(error)));
  page.on('dialog', (dialog) => page.troubles.push(`dialog: ${dialog.message()}`));
  page.on('console', (message) => message.type() === 'error' && !expected.test(message.text()) && page.troubles.push(message.text()));
  await page.goto(`${base}/${hash}`);
  return page;
}

async function close(page) {
  assert.deepEqual(page.troubles, []);
  await page.close();
}

const until = (page, fact, argument) => page.waitForFunction(fact, argument, { polling: 100 });
/** The text of an element, once it fits. */
const shows = (page, selector, pattern) => until(page, ([css, source]) =>
  new RegExp(source).test(document.querySelector(css)?.textContent ?? ''), [selector, pattern.source]);
const rows = (page, view) => page.locator(`table.${view} tbody tr`);
const level = (page, kind) => until(page, (which) =>
  [...document.querySelectorAll(`.meter.${which}`)].some((meter) => Number(meter.getAttribute('aria-valuenow')) > -40), kind);
const focused = (page) => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent);

/** Tab until the element with this name has the focus. */
async function tabTo(page, name) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press('Tab');
    if ((await focused(page)) === name) return;
  }
  assert.fail(`the keyboard does not reach ${name}`);
}

test('calls appear, move and end on the live page without a reload', limit, async () => {
  const page = await open('');
  await page.getByText('No call is running.').waitFor();
  const talking = await callers(main.legs, { caller: HOSTILE, did: '100', agent: 'reception' },
    '--calls', '1', '--seconds', '9', '--audio', 'speech', '--expect', 'parrot');
  await rows(page, 'live').first().waitFor();
  const row = await rows(page, 'live').first().innerText();
  assert.ok(row.includes(HOSTILE) && row.includes('reception') && row.includes('100'), row);
  assert.equal(await page.locator('main img').count(), 0, 'a caller’s name is text');
  await level(page, 'caller');
  await level(page, 'agent');
  await shows(page, 'td[data-label="Time"]', /0:0[3-9]/);
  await shows(page, '.total dd', /^1$/);
  await page.evaluate(() => (window.sameDocument = true));

  await page.getByRole('button', { name: `Listen to ${HOSTILE}` }).click();
  await page.getByText('Listening to the call of').waitFor();
  await page.getByRole('button', { name: 'Stop listening', exact: true }).last().click();

  await page.getByText('No call is running.').waitFor();
  assert.ok(await page.evaluate(() => window.sameDocument));
  await stop(talking);
  await close(page);
});

test('a call is hung up with the keyboard alone', limit, async () => {
  const page = await open('');
  const talking = await callers(main.legs, { caller: '200' },
    '--calls', '1', '--seconds', '60', '--audio', 'speech', '--expect', 'parrot', '--leg', 'chan_websocket');
  await page.getByRole('link', { name: '200', exact: true }).waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await tabTo(page, 'More for 200');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Hang up 200');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await tabTo(page, 'Hang up');
  await page.keyboard.press('Enter');
  await page.getByText('No call is running.').waitFor();
  await stop(talking);
  await tabTo(page, 'Calls');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Calls' }).waitFor();
  assert.equal(await focused(page), 'Calls', 'the view’s heading has the focus');
  await close(page);
});

test('what is said is read while the call runs', limit, async () => {
  const page = await open('');
  const talking = await callers(main.legs, { caller: '300', agent: 'reception', did: '301' },
    '--calls', '1', '--seconds', '12', '--audio', 'speech', '--expect', 'parrot');
  await page.getByRole('link', { name: '300', exact: true }).click();
  await shows(page, '.said-now .turn.agent .said', /You spoke for/);
  await page.goto(`${main.page}/#/live`);
  await shows(page, '.standing', /Counted since \d.*room for [1-9].*no call refused.*the credential works/);
  await page.getByLabel('Order by').selectOption('agents');
  await page.locator('tr.agent-head').filter({ hasText: 'reception' }).waitFor();
  await stop(talking);
  await close(page);
});

test('500 running calls stay usable: one line each, by agent, under a head that stays', limit, async () => {
  const page = await open('');
  await page.getByText('No call is running.').waitFor();
  const tell = () => page.evaluate(async () => {
    const { feed } = await import('/assets/api.js');
    feed.calls = Array.from({ length: 500 }, (_, at) => ({
      id: `id-${at}`, caller: `+4207${10000 + at}`, did: '100', agent: `agent-${at % 5}`, state: at === 77 ? 'detached' : 'live', duration_s: at,
      offered_at: new Date(1e12 + at * 1000).toISOString(), answer_ms_p50: 900 + at, answer_ms_max: 1000 + ((at * 7) % 500), caller_level_dbfs: -20,
      agent_level_dbfs: -60, caller_speaking: true, agent_speaking: false, underruns: 0, gap_ms_max: 0,
    }));
    feed.dispatchEvent(new CustomEvent('calls'));
  });
  await tell();
  assert.equal(await page.locator('table.live tbody tr').count(), 500);
  const heights = await page.locator('table.live tbody tr').evaluateAll((list) => list.slice(0, 20).map((row) => row.getBoundingClientRect().height));
  assert.ok(Math.max(...heights) < 50, `one line each: ${heights}`);
  await page.getByLabel('Order by').selectOption('trouble first');
  assert.match(await page.locator('table.live tbody tr').first().innerText(), /\+420710077/);
  await page.getByLabel('Order by').selectOption('agents');
  assert.deepEqual(await page.locator('tr.agent-head th').allInnerTexts(), [0, 1, 2, 3, 4].map((at) => `agent-${at} 100`));
  const heads = await page.locator('.tall').evaluate((region) => {
    const head = region.querySelector('thead th');
    const before = head.getBoundingClientRect().top;
    region.scrollTop = 3000;
    return [before, head.getBoundingClientRect().top, region.scrollTop];
  });
  assert.ok(Math.abs(heads[0] - heads[1]) < 2 && heads[2] > 1000, `the head stays: ${heads}`);
  await page.getByLabel('Filter').fill('10499');
  assert.equal(await rows(page, 'live').filter({ hasText: '+420710499' }).count(), 1);
  await close(page);
});

test('a past call is found by what was said, and its recording plays beside its transcript', limit, async () => {
  const page = await open('#/calls');
  await rows(page, 'past').first().waitFor();
  await page.getByLabel('Search', { exact: true }).fill('words that nobody said');
  await page.keyboard.press('Enter');
  await page.getByText('No call fits.').waitFor();
  await page.getByLabel('Search', { exact: true }).fill('You spoke for');
  await page.getByLabel('Agent', { exact: true }).selectOption('reception');
  await page.getByRole('button', { name: 'Search' }).click();
  const link = page.getByRole('link', { name: HOSTILE });
  await link.waitFor();
  assert.equal(await rows(page, 'past').count(), 2);
  await link.press('Enter');

  await page.locator('.turn.agent .said').first().waitFor();
  assert.match(await page.locator('.turn.agent .said').first().innerText(), /You spoke for \d/);
  assert.equal(await page.locator('main img').count(), 0);
  const coloured = await page.locator('.timeline canvas').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const half = data.length / 2;
    const strong = (from, to, channel) => {
      let found = 0;
      for (let at = from; at < to; at += 4) found += data[at + 3] > 90 && data[at + channel] > data[at] + 40 ? 1 : 0;
      return found;
    };
    return { caller: strong(0, half, 2), agent: strong(half, data.length, 1) };
  });
  assert.ok(coloured.caller > 200 && coloured.agent > 200, `the waveform has peaks of both: ${JSON.stringify(coloured)}`);

  await page.locator('.turn.agent button.when').first().click();
  const said = await page.locator('audio').evaluate((audio) => audio.currentTime);
  await until(page, (from) => document.querySelector('audio').currentTime > from + 0.5, said);
  await page.locator('.turn[aria-current]').waitFor();
  await page.locator('audio').evaluate((audio) => audio.pause());
  const { width } = await page.locator('.timeline').boundingBox();
  await page.locator('.timeline canvas').click({ position: { x: width / 2, y: 60 } });
  await until(page, () => {
    const audio = document.querySelector('audio');
    return Math.abs(audio.currentTime / audio.duration - 0.5) < 0.1;
  });
  await page.keyboard.press('Home');
  await until(page, () => document.querySelector('audio').currentTime === 0);
  await close(page);
});

test('calls with problems are found, and each says what was wrong', limit, async () => {
  const page = await open('#/calls');
  await rows(page, 'past').first().waitFor();
  await page.getByLabel('Problems', { exact: true }).selectOption('slow answer');
  await page.getByRole('button', { name: 'Search' }).click();
  const link = page.getByRole('link', { name: HOSTILE });
  await link.waitFor();
  const cell = rows(page, 'past').filter({ has: link }).locator('td[data-label="Verdict"]');
  assert.match(await cell.innerText(), /slow answer \(\d+\.\d s\)/);
  assert.equal(await cell.locator('.verdict.fair .sign').innerText(), '!', 'not by its colour alone');
  await link.click();
  await shows(page, '.summary', /slow answer/);
  await page.goto(`${main.page}/#/calls?problems=cost`);
  await page.getByText('No call fits.').waitFor();
  await close(page);
});

test('past calls are counted, sorted and exported, and the search survives the way back', limit, async () => {
  const page = await open('#/calls');
  await rows(page, 'past').first().waitFor();
  const shown = await rows(page, 'past').count();
  await shows(page, '.counts', new RegExp(`^${shown} calls.* with problems.*slow answer [1-9]`));
  await page.getByRole('button', { name: 'Time', exact: true }).click();
  await page.locator('th[aria-sort="descending"]').filter({ hasText: 'Time' }).waitFor();
  await rows(page, 'past').nth(shown - 1).waitFor();
  const times = await page.locator('td[data-label="Time"]').allInnerTexts();
  assert.deepEqual(times, [...times].sort().reverse(), 'the longest first');
  await page.getByRole('button', { name: 'Time', exact: true }).click();
  await page.locator('th[aria-sort="ascending"]').waitFor();

  await page.getByLabel('When', { exact: true }).selectOption('yesterday');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByText('No call fits.').waitFor();
  await page.getByLabel('When', { exact: true }).selectOption('today');
  // A part of the number that was called, and the beginning of an agent's name.
  await page.getByLabel('Search', { exact: true }).fill('recept');
  await page.getByRole('button', { name: 'Search' }).click();
  const link = page.getByRole('link', { name: HOSTILE });
  await link.waitFor();
  assert.equal(await rows(page, 'past').count(), 2);
  const search = page.url();
  const [csv, jsonl] = await Promise.all(['Export CSV', 'Export JSON lines'].map(async (name) => {
    const href = await page.getByRole('link', { name }).getAttribute('href');
    return (await fetch(main.page + href)).text();
  }));
  const [head, ...lines] = csv.trimEnd().split('\n');
  assert.ok(head.startsWith('id,uuid,did,caller,agent,') && lines.length === 2 && lines.every((line) => line.includes(',reception,')), csv);
  assert.equal(JSON.parse(jsonl.split('\n')[0]).caller, HOSTILE, 'as it is sorted: the shortest first');
  await link.click();
  await page.getByRole('link', { name: '← Calls' }).click();
  await link.waitFor();
  assert.equal(page.url(), search);
  await close(page);
});

test('agents are compared for a span of time', limit, async () => {
  const page = await open('#/compare');
  const line = page.locator('table.compare tbody tr').filter({ hasText: 'reception' });
  await line.waitFor();
  const [calls, problems, median] = await line.locator('td').allInnerTexts();
  assert.equal(calls, '2');
  assert.match(problems, /^[12] \((50|100) %\)$/);
  assert.match(median, /^\d+(\.\d)? m?s$/);
  await page.getByLabel('Compare', { exact: true }).selectOption('Numbers called');
  await page.locator('table.compare caption').filter({ hasText: 'Numbers called' }).waitFor({ state: 'attached' });
  await page.getByRole('link', { name: '100', exact: true }).click();
  await page.getByRole('link', { name: HOSTILE }).waitFor();
  await close(page);
});

/** A call in which the model did not answer, as the relay gives its record. */
const STUCK = {
  id: 'stuck', live: false, caller: '400', did: '100', agent: 'reception', outcome: 'hangup', ended_by: 'caller', reason: 'the switch hung up',
  verdict: 'slow answer (4.6 s), agent stuck, then recovered, tool failed', problems: ['slow_answer', 'healed', 'tool_failed'], duration_s: 30,
  answer_ms_p50: 900, answer_ms_max: 4640, turns: 2, tools_called: 1, tools_failed: 1, cost: 0.25, cost_currency: 'USD', recording: null,
  transcript: [
    { speaker: 'caller', start_ms: 1000, end_ms: 2000, text: 'Hello?', heard_text: 'Hello?', interrupted: false },
    { speaker: 'agent', start_ms: 2900, end_ms: 4000, text: 'Good evening.', heard_text: 'Good evening.', interrupted: false },
    { speaker: 'caller', start_ms: 12_000, end_ms: 15_100, text: 'When is the next train?', heard_text: 'When is the next train?', interrupted: false },
    { speaker: 'agent', start_ms: 19_700, end_ms: 22_000, text: 'At nine.', heard_text: 'At nine.', interrupted: false },
  ],
  events: [
    { at_ms: 300, kind: 'answered', detail: null }, { at_ms: 18_100, kind: 'watchdog_nudge', detail: null }, { at_ms: 18_900, kind: 'watchdog_healed', detail: null },
    { at_ms: 24_000, kind: 'tool_timed_out', detail: 'timetable' }, { at_ms: 26_000, kind: 'turn_complete_reason', detail: 'RESPONSE_REJECTED' },
    { at_ms: 29_900, kind: 'leg_lost', detail: null },
  ],
};

test('a call’s page says why in a sentence, how long each answer took, and what happened to the millisecond', limit, async () => {
  const page = await open('#/live');
  await page.route('**/api/calls/stuck', (route) => route.fulfill({ json: STUCK }));
  await page.goto(`${main.page}/#/call/stuck`);
  await shows(page, '.summary', /^!slow answer.*The caller waited 4\.6 s at 0:15: the model did not answer, the relay asked again\. At 0:24 the tool timetable had no result in time\. At 0:26 the model’s answer was refused by its safety filter\.$/);
  assert.deepEqual(await page.locator('.turn .wait').allInnerTexts(), ['after 900 ms', 'after 4.6 s']);
  assert.equal(await page.locator('.wait.long').count(), 1);
  const times = await page.locator('.events tbody .when').allInnerTexts();
  assert.deepEqual(times, ['0:00', '0:18.100', '0:18.900', '0:24', '0:26', '0:29'], 'milliseconds where events share a second');
  assert.match(await page.locator('.events tbody tr').last().innerText(), /the caller hung up/);
  assert.equal(await page.locator('.mark.severe').count(), 3);
  await close(page);
});

test('a recording’s player has keys, speed and sides, and marks tell their words', limit, async () => {
  const page = await open('#/calls?q=recept');
  await page.getByRole('link', { name: HOSTILE }).click();
  await shows(page, '.summary', /The caller waited/);
  const mark = page.locator('.marks button').first();
  assert.match(await mark.getAttribute('aria-label'), /0:0\d the model was ready/);
  await mark.hover();
  assert.ok(await mark.locator('.tip').isVisible(), 'a mark tells its text');
  assert.equal(await page.getByText('leg lost').count(), 0, 'a hang-up is none');
  await page.getByText('Line, times and names').click();
  await page.getByText('mod_audio_stream from').waitFor();

  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('k');
  await until(page, () => document.querySelector('audio').currentTime > 0.2);
  await page.keyboard.press('k');
  await page.keyboard.press('>');
  assert.equal(await page.locator('audio').evaluate((audio) => audio.playbackRate), 1.25);
  await page.getByRole('button', { name: 'Mute caller' }).click();
  await page.getByRole('button', { name: 'Mute caller', pressed: true }).waitFor();
  await page.getByRole('link', { name: 'Download' }).waitFor();
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('?');
  await page.getByRole('dialog').getByText('play, pause').waitFor();
  await page.keyboard.press('Escape');
  await close(page);
});

test('a browser telephones: the parrot answers, the call is on the live page and in the records', limit, async () => {
  const page = await open('#/telephone');
  await page.getByLabel('Agent', { exact: true }).selectOption('reception');
  await page.getByRole('button', { name: 'Call', exact: true }).press('Enter');
  await shows(page, '.phone-words', /Connected/);
  assert.equal(await focused(page), 'Hang up');
  await level(page, 'caller');
  await level(page, 'agent');
  await until(page, () => parseFloat(document.querySelector('.facts.small dd').textContent) > 1.5);
  await page.getByRole('link', { name: 'Live' }).click();
  await page.getByRole('link', { name: 'browser' }).waitFor();
  await shows(page, '#dock', /Telephone: Connected/);
  await page.getByRole('link', { name: 'Telephone' }).first().click();
  await page.getByRole('button', { name: 'Mute' }).click();
  await page.getByRole('button', { name: 'Muted', pressed: true }).waitFor();
  await page.getByRole('button', { name: 'Hang up' }).click();
  await shows(page, '.phone-words', /You hung up/);

  // The record waits for the recording to be closed.
  const query = `caller=browser&q=${encodeURIComponent('You spoke')}`;
  const kept = async () => (await (await fetch(`${main.page}/api/calls?${query}`)).json()).calls.length > 0;
  for (const deadline = Date.now() + 15_000; !(await kept());) assert.ok(Date.now() < deadline, 'the record is never kept');
  await page.goto(`${main.page}/#/calls?${query}`);
  await page.getByRole('link', { name: 'browser' }).click();
  const said = await page.locator('.turn.agent .said').first().innerText();
  const [, seconds] = said.match(/You spoke for ([\d.]+) seconds/);
  assert.ok(Number(seconds) > 2 && Number(seconds) < 4, `the microphone’s sentence has 3 s: ${said}`);
  await close(page);
});

test('the telephone says what is wrong', limit, async () => {
  const page = await open('#/telephone', { expected: /503|WebSocket/ });
  const call = page.getByRole('button', { name: 'Call', exact: true });
  await page.route('**/api/telephone', (route) => route.fulfill({ status: 503, json: { error: 'all calls are taken' } }), { times: 1 });
  await call.click();
  await shows(page, '.phone-words', /takes no call now: all calls are taken/);
  await page.route('**/api/telephone', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), protocols: ['tandem.telephone', 'ticket.of-nobody'] } });
  }, { times: 1 });
  await call.click();
  await shows(page, '.phone-words', /did not take the call/);
  await page.evaluate(() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined }));
  await call.click();
  await shows(page, '.phone-words', /secure pages only/);
  await close(page);
});

test('the token is asked for, and a relay that goes away and comes back is noticed', limit, async () => {
  const configuration = '[admin]\ntoken = "a-token-of-sixteen-characters"\n';
  let other = await relay(gemini, configuration);
  const page = await open('', { base: other.page, expected: /401|ERR_|Failed to load/ });
  await page.getByLabel('Token').fill('another');
  await page.keyboard.press('Enter');
  await page.getByText('This is not the token').waitFor();
  await page.getByLabel('Token').fill('a-token-of-sixteen-characters');
  await page.keyboard.press('Enter');
  await page.getByText('No call is running.').waitFor();
  await shows(page, '#link-state', /Connected/);
  await stop(other.child);
  await shows(page, '#link-state', /lost since \d/);
  other = await relay(gemini, configuration, { TANDEM_ADMIN_LISTEN: new URL(other.page).host });
  // Sessions are the relay's, and end with it.
  await page.getByLabel('Token').fill('a-token-of-sixteen-characters');
  await page.keyboard.press('Enter');
  await shows(page, '#link-state', /Connected/);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Token').waitFor();
  await page.reload();
  await page.getByLabel('Token').waitFor();
  await close(page);
});

test('what shows nothing in a text is shown as an escape', limit, async () => {
  const page = await open('');
  const shown = await page.evaluate(async () => {
    const { h, visible } = await import('/assets/dom.js');
    const made = h('p', { title: 'a\u202eb' }, 'x\u200by', h('b', {}, '\u{e0041}'));
    return [visible('a\u202e\u2066\u0000\n\u00adz'), made.title, made.textContent, visible('žluť 日本 \u00a0 e\u0301')];
  });
  assert.deepEqual(shown, [
    'a\\u{202e}\\u{2066}\\u{0}\\n\\u{ad}z', 'a\\u{202e}b', 'x\\u{200b}y\\u{e0041}', 'žluť 日本 \u00a0 e\u0301',
  ]);
  await close(page);
});

test('every view fits a telephone’s screen, dark where that is wished', limit, async () => {
  const page = await open('', { viewport: { width: 375, height: 812 }, colorScheme: 'dark' });
  for (const hash of ['#/live', '#/calls', '#/compare?period=all', '#/telephone']) {
    await page.goto(`${main.page}/${hash}`);
    await page.locator('h1').waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${hash} is ${wide} px too wide`);
  }
  const [back, text] = await page.evaluate(() => {
    const { backgroundColor, color } = getComputedStyle(document.body);
    return [backgroundColor, color].map((rgb) => rgb.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));
  });
  assert.ok(back < 120 && text > 600, `dark: ${back}, ${text}`);
  await page.goto(`${main.page}/#/calls`);
  await rows(page, 'past').first().locator('a').click();
  await page.locator('.facts').first().waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  await close(page);
});
