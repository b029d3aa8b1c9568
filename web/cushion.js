// What is queued for the ear: plays once a little has gathered, and never waits for more than that.
// Pure: no Web Audio in it, so that tests run it without a browser.

export class Cushion {
  /**
   * @param {number} rate samples a second of each channel
   * @param {number} channels interleaved
   * @param {number} cushionMs gathered before the first sample plays, and anew after each time that it ran dry
   * @param {number} maxMs held at most; what does not fit pushes the oldest out
   */
  constructor(rate, channels, cushionMs, maxMs) {
    this.rate = rate;
    this.channels = channels;
    this.needed = Math.round((cushionMs * rate) / 1000);
    this.most = Math.round((maxMs * rate) / 1000);
    this.chunks = [];
    this.at = 0; // frames of the first chunk that have played
    this.queued = 0; // frames
    this.playing = false;
    this.waited = 0; // frames of silence played since something began to wait
    this.dryFor = Infinity; // frames of silence since it ran dry in the middle of speech
    this.played = 0;
    this.holes = 0;
    this.dropped = 0;
  }

  /** Takes interleaved 16-bit samples. */
  push(samples) {
    const frames = Math.floor(samples.length / this.channels);
    if (frames === 0) return;
    // It ran dry and goes on soon after: the listener heard a hole. Later than that it is the next thing said.
    if (this.dryFor < this.rate / 4) this.holes += 1;
    this.dryFor = Infinity;
    this.chunks.push(samples);
    this.queued += frames;
    while (this.queued > this.most) this.#forgetChunk();
  }

  /** Forgets all of it, at once. */
  flush() {
    this.chunks = [];
    this.at = 0;
    this.queued = 0;
    this.playing = false;
    this.waited = 0;
    this.dryFor = Infinity;
  }

  /** Fills `outputs`, one array of floats for each channel, and gives the peak of it. A channel too many gets the last. */
  pull(outputs) {
    const wanted = outputs[0].length;
    for (const output of outputs) output.fill(0);
    if (!this.playing && this.queued > 0) {
      this.playing = this.queued >= this.needed || this.waited >= this.needed;
      this.waited += wanted;
    }
    let peak = 0;
    let done = 0;
    while (this.playing && done < wanted && this.queued > 0) {
      const chunk = this.chunks[0];
      const frames = Math.floor(chunk.length / this.channels);
      const take = Math.min(wanted - done, frames - this.at);
      for (let channel = 0; channel < outputs.length; channel += 1) {
        const from = Math.min(channel, this.channels - 1);
        for (let frame = 0; frame < take; frame += 1) {
          const sample = chunk[(this.at + frame) * this.channels + from] / 32768;
          outputs[channel][done + frame] = sample;
          peak = Math.max(peak, Math.abs(sample));
        }
      }
      done += take;
      this.at += take;
      this.queued -= take;
      this.played += take;
      if (this.at === frames) {
        this.chunks.shift();
        this.at = 0;
      }
    }
    if (this.playing && this.queued === 0) {
      this.playing = false;
      this.waited = 0;
      this.dryFor = 0;
    }
    if (done < wanted) this.dryFor += wanted - done;
    return peak;
  }

  #forgetChunk() {
    const frames = Math.floor(this.chunks.shift().length / this.channels) - this.at;
    this.at = 0;
    this.queued -= frames;
    this.dropped += frames;
  }
}
