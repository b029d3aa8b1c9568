// The telephone: a call of this browser to an agent. Lives on while other views are shown. No elements in here.

import { ApiError, get, post } from './api.js';
import { capture, dbfs, player, samplesOf } from './audio.js';

/** Unsent audio beyond which frames are dropped: two seconds. What is later than that is no conversation. */
const UNSENT_BYTES_MAX = 64_000;
const SILENCE = new ArrayBuffer(640);

class Phone extends EventTarget {
  /** idle, asking, connecting, talking or ended */
  state = 'idle';
  words = 'Ready.';
  failed = false;
  muted = false;
  agent = null;
  since = null;
  callerDbfs = -96;
  agentDbfs = -96;
  heard = { playedSeconds: 0, flushes: 0, holes: 0, queuedMs: 0 };
  #call = null;

  get busy() {
    return ['asking', 'connecting', 'talking'].includes(this.state);
  }

  async call(agent) {
    if (this.busy) return;
    const call = (this.#call = { closers: [] });
    this.agent = agent;
    this.muted = false;
    this.heard = { playedSeconds: 0, flushes: 0, holes: 0, queuedMs: 0 };
    this.#become('asking', 'Waiting for the microphone …');
    try {
      const stream = await microphone();
      call.closers.push(() => stream.getTracks().forEach((track) => track.stop()));
      if (this.#call !== call) return close(call);
      stream.getTracks().forEach((track) => (track.onended = () => this.#end(call, 'The microphone was taken away.', true)));
      this.#become('connecting', 'Connecting …');
      const output = await player({ channels: 1, cushionMs: 40, onreport: (report) => this.#report(call, report) });
      call.closers.push(output.close);
      const ticket = await post('/api/telephone', { agent });
      if (this.#call !== call) return close(call);
      await this.#connect(call, ticket, output);
      const input = await capture(stream, (frame) => this.#send(call, frame));
      call.closers.push(input.close);
      if (this.#call !== call) close(call);
    } catch (problem) {
      close(call);
      this.#end(call, inWords(problem), true);
    }
  }

  #connect(call, { url, protocols }, output) {
    if (location.protocol === 'https:' && url.startsWith('ws:')) {
      throw new Error('This page is encrypted and the telephone’s port is not, which browsers refuse: give the media port TLS too.');
    }
    return new Promise((resolve, reject) => {
      const socket = (call.socket = new WebSocket(url, protocols));
      call.closers.push(() => socket.close(1000));
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => {
        call.open = true;
        this.since = Date.now();
        this.#become('talking', 'Connected: speak.');
        resolve();
      };
      socket.onmessage = ({ data }) => {
        if (typeof data === 'string') {
          if (isFlush(data)) output.flush();
        } else {
          output.play(samplesOf(data));
        }
      };
      socket.onclose = async ({ code, reason }) => {
        if (call.open) return this.#end(call, closeInWords(code, reason), code !== 1000);
        reject(new Error(await whyRefused(url)));
      };
    });
  }

  #send(call, { frame, peak }) {
    if (this.#call !== call || call.socket.readyState !== WebSocket.OPEN) return;
    this.callerDbfs = this.muted ? -96 : dbfs(peak);
    if (call.socket.bufferedAmount < UNSENT_BYTES_MAX) call.socket.send(this.muted ? SILENCE : frame);
    this.#say('levels');
  }

  #report(call, report) {
    if (this.#call !== call) return;
    this.agentDbfs = dbfs(report.peak);
    this.heard = report;
    this.#say('levels');
  }

  setMuted(muted) {
    this.muted = muted;
    this.#say('change');
  }

  /** Presses a key of the telephone. */
  press(digit) {
    const { socket } = this.#call ?? {};
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'tandem', event: 'dtmf', digit }));
  }

  hangUp() {
    if (this.busy) this.#end(this.#call, 'You hung up.', false);
  }

  #end(call, words, failed) {
    if (this.#call !== call) return;
    this.#call = null;
    close(call);
    this.callerDbfs = this.agentDbfs = -96;
    this.#become('ended', words, failed);
  }

  #become(state, words, failed = false) {
    Object.assign(this, { state, words, failed });
    this.#say('change');
  }

  #say(what) {
    this.dispatchEvent(new Event(what));
  }
}

function close(call) {
  for (const closer of call.closers.splice(0).reverse()) closer();
}

/** The relay says so when the caller has interrupted: what is queued here is not to be heard any more. */
function isFlush(text) {
  try {
    return JSON.parse(text).type === 'clearAudio';
  } catch {
    return false;
  }
}

function microphone() {
  if (!navigator.mediaDevices) {
    throw new Error('Browsers give a microphone to secure pages only. Open this page as http://localhost:9095 through an SSH tunnel, or give the relay’s admin server TLS; how is below.');
  }
  return navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
}

function inWords(problem) {
  switch (problem.name) {
    case 'NotAllowedError': return 'The browser was not allowed to use the microphone. Allow it for this page, then call again.';
    case 'NotFoundError': return 'There is no microphone. Connect one, then call again.';
    case 'NotReadableError': return 'The microphone is in use by another program.';
  }
  if (problem instanceof ApiError && problem.status === 503) return `The relay takes no call now: ${problem.message}`;
  return problem.message;
}

/** Browsers keep the reason of a refused handshake to themselves; the relay tells at its other door. */
async function whyRefused(url) {
  const { host } = new URL(url);
  try {
    await get('/admit');
  } catch (problem) {
    if (problem.status === 503) return `The relay takes no call now: ${problem.message}`;
  }
  return `The relay’s media port at ${host} did not take the call. Either it cannot be reached from here (an SSH tunnel needs this port too), or the ticket was used or is older than a minute: call again.`;
}

function closeInWords(code, reason) {
  const said = reason ? `: ${reason}` : '';
  if (code === 1000) return `The agent ended the call${said}.`;
  if (code === 1001) return `The relay is shutting down${said}.`;
  if (code === 1006) return 'The connection to the relay was lost.';
  return `The relay ended the call (${code})${said}.`;
}

export const phone = new Phone();
