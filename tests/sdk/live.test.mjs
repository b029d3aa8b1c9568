// Google's JavaScript SDK (@google/genai) holds sessions with gemini-sim: the main path, and what differs from Python:
// camelCase, standard base64, the key in the URL, a double slash in the path, plain ws, an empty close frame.
//
// Runs with node's own test runner; see README.md. SDK_NODE names the folder that holds node_modules, GEMINI_SIM the
// binary.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../../..');
const require = createRequire(resolve(process.env.SDK_NODE ?? join(root, 'target/sdk-node')) + '/');
const { GoogleGenAI, Modality } = require('@google/genai');

const binary = process.env.GEMINI_SIM ?? join(root, 'target/debug/gemini-sim');
const model = 'gemini-3.8-live';
const limit = { timeout: 30_000 };
const running = [];
const open = [];

after(async () => {
  open.forEach((session) => session.close());
  for (const child of running) {
    assert.equal(child.exitCode, null, 'the simulator died');
    child.kill();
    await once(child, 'exit');
  }
});

async function simulator(...flags) {
  const child = spawn(binary, ['--listen', '127.0.0.1:0', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.push(child);
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const [, address] = line.match(/^gemini-sim listening on ws:\/\/(\S+)$/);
  return `http://${address}`;
}

// A session whose messages are awaited one by one; after the close, `next` gives `{ closed: event }`.
async function connect(...args) {
  const { connected, next } = begin(...args);
  const session = await connected;
  open.push(session);
  return { session, next };
}

// The same without waiting for the session: the SDK's promise never settles when a setup is refused.
function begin(baseUrl, config = {}, apiKey = 'some-key', name = model) {
  const arrived = [];
  let wake = () => {};
  const arrive = (item) => {
    arrived.push(item);
    wake();
  };
  const ai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });
  const connected = ai.live.connect({
    model: name,
    config: { responseModalities: [Modality.AUDIO], ...config },
    callbacks: {
      onmessage: arrive,
      onerror: (event) => arrive({ error: event }),
      onclose: (event) => arrive({ closed: event }),
    },
  });
  const next = async () => {
    while (arrived.length === 0) await new Promise((done) => (wake = done));
    return arrived.shift();
  };
  return { connected, next };
}

async function until(next, found) {
  const seen = [];
  for (;;) {
    const message = await next();
    assert.ok(!message.error, `error: ${message.error?.message}`);
    assert.ok(!message.closed || found(message), `closed: ${message.closed?.code} ${message.closed?.reason}`);
    seen.push(message);
    if (found(message)) return seen;
  }
}

const turnComplete = (message) => message.serverContent?.turnComplete;
const audioOf = (messages) => Buffer.concat(messages.map((message) => Buffer.from(message.data ?? '', 'base64')));

// The bundled sentence has 3.69 s at 24 kHz, 16 bit.
function assertBundled(messages) {
  const seconds = audioOf(messages).length / 48_000;
  assert.ok(Math.abs(seconds - 3.69) < 0.02, `${seconds} s`);
}

function say(session) {
  const speech = readFileSync(join(root, 'loadtest/data/question.wav')).subarray(44);
  const line = Buffer.concat([speech, Buffer.alloc(32_000)]);
  for (let at = 0; at < line.length; at += 640) {
    const data = line.subarray(at, at + 640).toString('base64');
    session.sendRealtimeInput({ audio: { data, mimeType: 'audio/pcm;rate=16000' } });
  }
}

test('a spoken question is answered with audio, transcriptions and usage', limit, async () => {
  const record = join(mkdtempSync(join(tmpdir(), 'gemini-sim-')), 'record.jsonl');
  const url = await simulator('--voice', 'answer', '--burst', '20', '--record', record);
  const { session, next } = await connect(url, { inputAudioTranscription: {}, outputAudioTranscription: {} });
  await until(next, (message) => message.setupComplete?.sessionId === 'sim-1');
  say(session);
  const answer = await until(next, turnComplete);
  assertBundled(answer);
  const said = answer.map((message) => message.serverContent?.outputTranscription?.text ?? '').join('');
  assert.equal(said, "It is open until nine o'clock this evening. Anything else?");
  assert.ok(answer.some((message) => message.serverContent?.inputTranscription));
  assert.ok(answer.some((message) => message.serverContent?.generationComplete));
  assert.equal(answer.at(-1).usageMetadata.responseTokenCount, 92);
  session.close();
  const { closed } = await next();
  assert.ok(closed, 'the close handshake is completed');
  const recorded = readFileSync(record, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line).message);
  assert.equal(recorded[0].setup.model, 'models/gemini-3.8-live');
  assert.ok(recorded.slice(1).every((message) => message.realtimeInput.audio.data));
});

test('text is answered, and a tool is called', limit, async () => {
  const url = await simulator('--voice', 'answer', '--burst', '20', '--tool-call', 'look_up@1');
  const { session, next } = await connect(url, { tools: [{ functionDeclarations: [{ name: 'look_up' }] }] });
  session.sendClientContent({ turns: 'When does it close?' });
  const [call] = (await until(next, (message) => message.toolCall)).at(-1).toolCall.functionCalls;
  session.sendToolResponse({ functionResponses: { id: call.id, name: call.name, response: { output: '9' } } });
  assertBundled(await until(next, turnComplete));
  session.sendRealtimeInput({ text: 'Thanks' });
  assertBundled(await until(next, turnComplete));
});

test('speech interrupts the model', limit, async () => {
  const { session, next } = await connect(await simulator('--voice', 'answer', '--burst', '1'));
  session.sendRealtimeInput({ text: 'Tell me something long.' });
  await until(next, (message) => message.data);
  say(session);
  const cut = await until(next, turnComplete);
  assert.ok(cut.some((message) => message.serverContent?.interrupted));
  assert.ok(!cut.some((message) => message.serverContent?.generationComplete));
});

test('a session is resumed by its handle', limit, async () => {
  const url = await simulator();
  const first = await connect(url, { sessionResumption: {} });
  const handleOf = (message) => message.sessionResumptionUpdate?.newHandle;
  const handle = handleOf((await until(first.next, handleOf)).at(-1));
  first.session.close();
  await until(first.next, (message) => message.closed);
  const second = await connect(url, { sessionResumption: { handle } });
  await until(second.next, (message) => message.setupComplete?.sessionId === 'sim-1');
});

test('goAway comes before the close', limit, async () => {
  const { next } = await connect(await simulator('--fault', 'go-away:300@50ms'));
  assert.equal((await until(next, (message) => message.goAway)).at(-1).goAway.timeLeft, '0.3s');
  assert.equal((await until(next, (message) => message.closed)).at(-1).closed.code, 1008);
});

test('what the service refuses is refused with its code', limit, async () => {
  const url = await simulator('--api-key', 'right');
  for (const [config, key, name, code, words] of [
    [{}, 'wrong', model, 1007, 'API key not valid'],
    [{}, 'right', 'gemini-0.1-live', 1008, 'not found'],
    [{ responseModalities: [Modality.TEXT] }, 'right', model, 1007, 'response modalities'],
    [{ thinkingConfig: { thinkingBudget: 0 } }, 'right', model, 1007, 'hinking'],
  ]) {
    const { next } = begin(url, config, key, name);
    const { closed } = (await until(next, (message) => message.closed)).at(-1);
    assert.equal(closed.code, code);
    assert.ok(closed.reason.includes(words), closed.reason);
  }
});

for (const framing of ['--text-frames', '--pretty', '--fragment']) {
  test(`server messages sent with ${framing} are understood`, limit, async () => {
    const { session, next } = await connect(await simulator('--voice', 'answer', '--burst', '0', framing));
    session.sendRealtimeInput({ text: 'Hello' });
    assertBundled(await until(next, turnComplete));
  });
}
