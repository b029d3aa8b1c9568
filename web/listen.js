// Listening to a running call: one at a time.

import { callPath, open } from './api.js';
import { player, samplesOf } from './audio.js';
import * as format from './format.js';

/** Left and right, 16 bit each. */
const FRAME_BYTES = 4;

class Listener extends EventTarget {
  call = null;
  state = 'off';
  problem = null;
  #abort = null;

  async start(call) {
    this.stop();
    const abort = (this.#abort = new AbortController());
    this.#become(call, 'connecting', null);
    let output;
    let problem = null;
    try {
      output = await player({ channels: 2, cushionMs: 250 });
      const response = await open(callPath(call.id, '/listen'), abort.signal);
      const reader = response.body.getReader();
      let rest = new Uint8Array(0);
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        if (this.state === 'connecting' && !abort.signal.aborted) this.#become(call, 'live', null);
        const bytes = new Uint8Array(rest.length + value.length);
        bytes.set(rest);
        bytes.set(value, rest.length);
        const whole = bytes.length - (bytes.length % FRAME_BYTES);
        rest = bytes.slice(whole);
        if (whole > 0) output.play(samplesOf(bytes.subarray(0, whole)));
      }
      problem = `The call of ${format.caller(call)} has ended.`;
    } catch (error) {
      if (!abort.signal.aborted) problem = `Listening to ${format.caller(call)}: ${error.message}`;
    } finally {
      output?.close();
    }
    // Somebody else may be listened to by now.
    if (this.#abort === abort) this.#become(null, 'off', problem);
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
    this.#become(null, 'off', null);
  }

  dismiss() {
    this.#become(null, 'off', null);
  }

  #become(call, state, problem) {
    Object.assign(this, { call, state, problem });
    this.dispatchEvent(new Event('change'));
  }
}

export const listener = new Listener();
