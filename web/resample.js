// Samples at the microphone's rate to samples at 16 kHz, by a windowed sinc. Pure; carries on from one call to the next.

/** Zero crossings on each side: 0.2 ms of delay for each at 16 kHz. */
const CROSSINGS = 24;
/** Points of the filter between two zero crossings; between the points it is a straight line. */
const POINTS = 256;
/** The pass band's end, in parts of the lower rate's half. */
const CUT_OFF = 0.92;

export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    // In parts of the input's rate; below 1 where the output has room for less.
    this.cut = Math.min(1, to / from) * CUT_OFF;
    this.reach = Math.ceil(CROSSINGS / this.cut);
    this.table = new Float32Array(CROSSINGS * POINTS + 2);
    for (let point = 0; point < this.table.length; point += 1) {
      const x = point / POINTS;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      const window = x >= CROSSINGS ? 0 : 0.42 + 0.5 * Math.cos((Math.PI * x) / CROSSINGS) + 0.08 * Math.cos((2 * Math.PI * x) / CROSSINGS);
      this.table[point] = sinc * window;
    }
    this.past = new Float32Array(2 * this.reach); // begins in silence
    this.next = this.reach; // where in `past` and what follows it the next output sample lies
  }

  /** The output that these input samples complete. */
  process(input) {
    if (this.step === 1) return Float32Array.from(input);
    const all = new Float32Array(this.past.length + input.length);
    all.set(this.past);
    all.set(input, this.past.length);
    const output = [];
    while (this.next + this.reach < all.length) {
      const centre = Math.floor(this.next);
      let sum = 0;
      for (let at = centre - this.reach + 1; at <= centre + this.reach; at += 1) {
        const x = Math.abs(at - this.next) * this.cut * POINTS;
        const point = Math.floor(x);
        if (point >= CROSSINGS * POINTS) continue;
        const low = this.table[point];
        sum += all[at] * (low + (x - point) * (this.table[point + 1] - low));
      }
      output.push(sum * this.cut);
      this.next += this.step;
    }
    const keep = Math.max(0, Math.min(all.length, Math.floor(this.next) - this.reach));
    this.past = all.slice(keep);
    this.next -= keep;
    return Float32Array.from(output);
  }
}
