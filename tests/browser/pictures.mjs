// Makes the screenshots of docs/page.md: real calls on the simulator, looked at in Chromium.
// Usage: node tests/browser/pictures.mjs

import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { browser as chromium, callers, pictures, relay, simulator, stopAll } from './processes.mjs';

const AGENTS = `
[agent]
transcript = true
record = true
[agents.reception]
voice = "Kore"
language = "en-GB"
[agents.shop]
voice = "Puck"
language = "en-US"
`;
const CALLERS = [['+442079460101', '100', 'reception'], ['+420601234567', '200', 'shop'], ['+33142685300', '100', 'reception'], ['+12125550142', '200', 'shop']];

const chrome = await chromium();
try {
  const { legs, page: base } = await relay(await simulator('--voice', 'answer'), AGENTS);
  const place = ([caller, did, agent], seconds, ...flags) => callers(legs, { caller, did, agent },
    '--calls', '1', '--seconds', String(seconds), '--audio', 'speech', '--expect', 'answer', ...flags);
  const ended = await Promise.all(CALLERS.slice(0, 3).map((one) => place(one, 24)));
  await Promise.all(ended.map((child) => new Promise((done) => child.once('exit', done))));
  for (const one of CALLERS) {
    await place(one, 100);
    await pause(1300);
  }
  const open = async (hash, options = {}) => {
    const page = await chrome.newPage({ viewport: { width: 1200, height: 860 }, ...options });
    await page.goto(`${base}/${hash}`);
    return page;
  };
  const take = (page, name, options) => page.screenshot({ path: join(pictures, name), ...options });

  const live = await open('');
  await live.locator('table.live tbody tr').nth(3).waitFor();
  await pause(18_000); // the plots need something to show
  await live.waitForFunction(() => new Set([...document.querySelectorAll('.who')].map((who) => who.textContent)).size > 1);
  await take(live, 'page-live.png');

  const narrow = await open('', { viewport: { width: 375, height: 760 }, colorScheme: 'dark' });
  await narrow.locator('table.live tbody tr').nth(3).waitFor();
  await narrow.waitForFunction(() => /\d m?s/.test(document.querySelector('[data-label="Answer p50"]')?.textContent));
  await take(narrow, 'page-narrow-dark.png');

  const calls = await open('#/calls');
  await calls.locator('table.past tbody tr').nth(2).waitFor();
  await calls.getByRole('link', { name: CALLERS[0][0] }).click();
  await calls.locator('.turn').nth(3).waitFor();
  await calls.locator('.turn.agent button.when').first().click();
  await calls.waitForFunction(() => document.querySelector('audio').currentTime > 5.5);
  await calls.locator('audio').evaluate((audio) => audio.pause());
  await take(calls, 'page-call.png');

  const telephone = await open('#/telephone', { viewport: { width: 700, height: 780 } });
  await telephone.getByLabel('Agent', { exact: true }).selectOption('reception');
  await telephone.getByRole('button', { name: 'Call', exact: true }).click();
  await telephone.waitForFunction(() => Number(document.querySelectorAll('.talking .meter')[1].getAttribute('aria-valuenow')) > -30);
  await take(telephone, 'page-telephone.png');
} finally {
  await chrome.close();
  await stopAll();
}
