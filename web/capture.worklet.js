// The microphone's samples as frames of 20 ms at 16 kHz, 16 bit little-endian, each with its peak.

import { Resampler } from './resample.js';

const RATE_HZ = 16000;
const FRAME = 320;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, RATE_HZ);
    this.begin();
  }

  begin() {
    this.frame = new DataView(new ArrayBuffer(FRAME * 2));
    this.filled = 0;
    this.peak = 0;
  }

  process([input]) {
    // A microphone that is gone gives no channel: silence, so that the relay goes on hearing time pass.
    const samples = this.resampler.process(input[0] ?? new Float32Array(128));
    for (const sample of samples) {
      const clipped = Math.max(-1, Math.min(1, sample));
      this.peak = Math.max(this.peak, Math.abs(clipped));
      this.frame.setInt16(this.filled * 2, Math.round(clipped * 32767), true);
      this.filled += 1;
      if (this.filled === FRAME) {
        const { frame, peak } = this;
        this.port.postMessage({ frame: frame.buffer, peak }, [frame.buffer]);
        this.begin();
      }
    }
    return true;
  }
}

registerProcessor('capture', Capture);
