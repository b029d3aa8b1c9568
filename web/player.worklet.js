// Plays what it is sent, after a small cushion; forgets all of it at `flush`. The context has the samples' own rate.

import { Cushion } from './cushion.js';

const REPORTS_A_SECOND = 10;

class Player extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels, cushionMs, maxMs } }) {
    super();
    this.cushion = new Cushion(sampleRate, channels, cushionMs, maxMs);
    this.flushes = 0;
    this.peak = 0;
    this.blocks = 0;
    this.port.onmessage = ({ data }) => {
      if (data === 'flush') {
        this.flushes += 1;
        this.cushion.flush();
      } else {
        this.cushion.push(data);
      }
    };
  }

  process(_, [output]) {
    this.peak = Math.max(this.peak, this.cushion.pull(output));
    this.blocks += 1;
    if (this.blocks * 128 * REPORTS_A_SECOND >= sampleRate) {
      const { cushion, flushes, peak } = this;
      const { played, holes, queued } = cushion;
      this.port.postMessage({
        peak, flushes, holes, playedSeconds: played / sampleRate, queuedMs: (queued * 1000) / sampleRate,
      });
      this.peak = 0;
      this.blocks = 0;
    }
    return true;
  }
}

registerProcessor('player', Player);
