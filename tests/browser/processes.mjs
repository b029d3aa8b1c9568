// What the page needs around it: the relay, the Gemini simulator, callers, and a Chromium with a microphone that says a
// sentence. All on 127.0.0.1, all ended by `stopAll`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const require = createRequire(resolve(process.env.BROWSER_NODE ?? join(root, 'target/browser-node')) + '/');
const { chromium } = require('playwright-core');
const binaries = join(root, 'target', process.env.PROFILE ?? 'debug');

export const pictures = join(root, 'docs/pictures');
export const folder = mkdtempSync(join(tmpdir(), 'tandem-browser-'));
const running = [];

/** Starts a program and waits for the lines that tell where it listens. */
async function start(name, args, stream, patterns, environment = {}) {
  const child = spawn(join(binaries, name), args, {
    cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, ...environment },
  });
  running.push(child);
  child.log = '';
  for (const output of [child.stdout, child.stderr]) output.on('data', (text) => (child.log += text));
  if (patterns.length === 0) return { child, addresses: [] };
  const lines = createInterface({ input: child[stream] });
  const found = patterns.map(() => null);
  const addresses = await new Promise((done, failed) => {
    lines.on('line', (line) => {
      patterns.forEach((pattern, at) => (found[at] ??= line.match(pattern)?.[1] ?? null));
      if (found.every((one) => one !== null)) done(found);
    });
    child.once('error', failed);
    child.once('exit', () => failed(new Error(`${name} ended:\n${child.log}`)));
  });
  return { child, addresses };
}

export async function simulator(...flags) {
  const { addresses } = await start('gemini-sim', ['--listen', '127.0.0.1:0', ...flags], 'stdout', [/listening on (ws:\/\/\S+)/]);
  return addresses[0].replace(/\/$/, '');
}

/** A relay with this configuration: where its page and its legs are, and how to end it. */
export async function relay(gemini, configuration, environment = {}) {
  const file = join(mkdtempSync(join(folder, 'relay-')), 'tandem.toml');
  writeFileSync(file, configuration);
  const { child, addresses: [legs, page] } = await start('tandem', ['--config', file], 'stderr',
    [/WebSocket server: (ws:\/\/\S+)/, /admin server: (https?:\/\/\S+)/], {
      AUDIO_SOCKET_HOST: '127.0.0.1', FREESWITCH_AUDIO_SOCKET_PORT: '0', TANDEM_ADMIN_LISTEN: '127.0.0.1:0',
      GEMINI_BASE_URL: gemini, GEMINI_API_KEY: 'simulated', STATE_DIRECTORY: folder, TANDEM_ROOT: folder, ...environment,
    });
  return { child, legs, page };
}

/** Callers who ask the bundled question again and again; resolves when the last has hung up. */
export async function callers(legs, fields, ...flags) {
  const { child } = await start('callgen', ['--url', `${legs}/?${new URLSearchParams(fields)}`, '--quiet', ...flags], 'stdout', []);
  return child;
}

export async function stop(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const over = once(child, 'exit');
  child.kill(signal);
  await over;
}

/** What the microphone hears: the bundled question, and silence in which it can be answered. */
function microphone() {
  const question = readFileSync(join(root, 'loadtest/data/question.wav'));
  const silence = (seconds) => Buffer.alloc(seconds * 32_000);
  const samples = Buffer.concat([silence(1), question.subarray(44), silence(7)]);
  const head = Buffer.from(question.subarray(0, 44));
  assert.equal(head.toString('latin1', 36, 40), 'data', 'a WAV file with a plain head');
  head.writeUInt32LE(36 + samples.length, 4);
  head.writeUInt32LE(samples.length, 40);
  const file = join(folder, 'microphone.wav');
  writeFileSync(file, Buffer.concat([head, samples]));
  return file;
}

export const browser = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${microphone()}`],
});

export async function stopAll() {
  for (const child of running.reverse()) await stop(child);
  rmSync(folder, { recursive: true, force: true });
}
