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

test('a past call is found by what was said, and its recording plays beside its transcript', limit, async () => {
  const page = await open('#/calls');
  await rows(page, 'past').first().waitFor();
  await page.getByLabel('Search', { exact: true }).fill('words that nobody said');
  await page.keyboard.press('Enter');
  await page.getByText('No call fits.').waitFor();
  await page.getByLabel('Search', { exact: true }).fill('You spoke for');
  await page.getByLabel('Agent', { exact: true }).fill('reception');
  await page.keyboard.press('Enter');
  const link = page.getByRole('link', { name: HOSTILE });
  await link.waitFor();
  assert.equal(await rows(page, 'past').count(), 1);
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
  const cell = page.locator('td[data-label="Verdict"]').first();
  assert.match(await cell.innerText(), /slow answer \(\d+\.\d s\)/);
  assert.equal(await cell.locator('.verdict.fair .sign').innerText(), '!', 'not by its colour alone');
  await link.click();
  await shows(page, '.summary', /slow answer/);
  await page.goto(`${main.page}/#/calls?problems=cost`);
  await page.getByText('No call fits.').waitFor();
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
  await shows(page, '#link-state', /lost/);
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
  for (const hash of ['#/live', '#/calls', '#/telephone']) {
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
