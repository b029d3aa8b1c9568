// What the page does to samples, without a browser: the resampler of the microphone, the cushion of the loudspeaker.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cushion } from '../../web/cushion.js';
import { Resampler } from '../../web/resample.js';

function tone(hz, rate, seconds) {
  return Float32Array.from({ length: rate * seconds }, (_, at) => Math.sin((2 * Math.PI * hz * at) / rate));
}

// The level of what is left of a tone, in dB, in blocks as a worklet gives them; the filter's beginning left out.
function leftOf(hz, rate) {
  const resampler = new Resampler(rate, 16000);
  const input = tone(hz, rate, 1);
  const output = [];
  for (let at = 0; at < input.length; at += 128) output.push(...resampler.process(input.subarray(at, at + 128)));
  assert.ok(Math.abs(output.length - 16000) < 100, `${output.length} samples of a second`);
  const steady = output.slice(2000);
  return 10 * Math.log10((2 * steady.reduce((sum, sample) => sum + sample * sample, 0)) / steady.length + 1e-12);
}

test('speech passes the resampler and what would fold back into it does not', () => {
  for (const rate of [44100, 48000, 96000]) {
    for (const hz of [100, 1000, 3400, 6500]) assert.ok(Math.abs(leftOf(hz, rate)) < 0.2, `${hz} Hz at ${rate}: ${leftOf(hz, rate)} dB`);
    for (const hz of [8800, 12000, 20000]) assert.ok(leftOf(hz, rate) < -60, `${hz} Hz at ${rate}: ${leftOf(hz, rate)} dB`);
  }
  assert.ok(Math.abs(leftOf(1000, 8000)) < 0.2, 'a microphone of narrow band');
});

test('the resampler gives the same however its input is cut', () => {
  const input = tone(440, 48000, 0.5);
  const whole = [...new Resampler(48000, 16000).process(input)];
  const resampler = new Resampler(48000, 16000);
  const pieces = [];
  for (let at = 0, length = 1; at < input.length; at += length, length = (length * 7) % 331 + 1) {
    pieces.push(...resampler.process(input.subarray(at, at + length)));
  }
  assert.deepEqual(pieces, whole.slice(0, pieces.length));
  assert.ok(whole.length - pieces.length < 2);
});

const ms = 16; // samples
const frame = (value) => new Int16Array(20 * ms).fill(value);
function pull(cushion, samples = 20 * ms) {
  const output = new Float32Array(samples);
  cushion.pull([output]);
  return output;
}

test('the cushion waits for little, plays all, and plays what is shorter than it too', () => {
  const cushion = new Cushion(16000, 1, 40, 1000);
  cushion.push(frame(1));
  assert.equal(pull(cushion)[0], 0, 'it waits for a second frame');
  cushion.push(frame(2));
  assert.equal(pull(cushion)[0], 1 / 32768);
  assert.equal(pull(cushion)[0], 2 / 32768);
  for (let at = 0; at < 20; at += 1) pull(cushion);
  cushion.push(frame(3));
  const heard = [pull(cushion), pull(cushion), pull(cushion)].map((block) => block[0] * 32768);
  assert.deepEqual(heard, [0, 0, 3], 'one frame alone waits as long as the cushion is, no longer');
  assert.equal(cushion.holes, 0, 'a pause is no hole');
});

test('a flush empties the cushion at once', () => {
  const cushion = new Cushion(16000, 1, 40, 1000);
  for (let at = 0; at < 10; at += 1) cushion.push(frame(9));
  pull(cushion);
  cushion.flush();
  assert.deepEqual([...pull(cushion)], Array(320).fill(0));
  cushion.push(frame(5));
  cushion.push(frame(5));
  assert.equal(pull(cushion)[0], 5 / 32768);
  assert.equal(cushion.holes, 0);
});

test('a hole is counted, what cannot be held pushes the oldest out, and stereo stays apart', () => {
  const cushion = new Cushion(16000, 1, 20, 100);
  cushion.push(frame(1));
  pull(cushion);
  pull(cushion);
  cushion.push(frame(1));
  assert.equal(cushion.holes, 1);
  for (let value = 1; value <= 10; value += 1) cushion.push(frame(value));
  assert.equal(cushion.queued, 100 * ms);
  assert.equal(pull(cushion)[0] * 32768, 6);
  const stereo = new Cushion(16000, 2, 0, 100);
  stereo.push(Int16Array.from([1, -1, 2, -2]));
  const [left, right] = [new Float32Array(2), new Float32Array(2)];
  stereo.pull([left, right]);
  assert.deepEqual([[...left], [...right]].map((side) => side.map((sample) => sample * 32768)), [[1, 2], [-1, -2]]);
});
