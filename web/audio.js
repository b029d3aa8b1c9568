// Web Audio, as the telephone and listening need it.

export const RATE_HZ = 16000;

/** The level of a peak of 0…1 in dBFS, −96 at least. */
export const dbfs = (peak) => Math.max(-96, 20 * Math.log10(peak || 1e-5));

/** 16-bit little-endian bytes as samples. An odd last byte is left out. */
export function samplesOf(bytes) {
  const view = new DataView(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength);
  const samples = new Int16Array(view.byteLength >> 1);
  for (let at = 0; at < samples.length; at += 1) samples[at] = view.getInt16(at * 2, true);
  return samples;
}

/** A player of 16 kHz samples; the browser converts them to what the loudspeaker takes. */
export async function player({ channels, cushionMs, maxMs = 20_000, onreport = () => {} }) {
  const context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: 'interactive' });
  try {
    await context.audioWorklet.addModule('/assets/player.worklet.js');
    const node = new AudioWorkletNode(context, 'player', {
      numberOfInputs: 0, outputChannelCount: [channels], processorOptions: { channels, cushionMs, maxMs },
    });
    node.port.onmessage = ({ data }) => onreport(data);
    node.connect(context.destination);
    await context.resume();
    return {
      play: (samples) => node.port.postMessage(samples, [samples.buffer]),
      flush: () => node.port.postMessage('flush'),
      close: () => context.close(),
    };
  } catch (problem) {
    await context.close();
    throw problem;
  }
}

/** The samples of a microphone's stream, to `onframe({frame, peak})` every 20 ms. */
export async function capture(stream, onframe) {
  // At the rate of the microphone: not every browser connects one to a context of another rate.
  const context = new AudioContext({ latencyHint: 'interactive' });
  try {
    await context.audioWorklet.addModule('/assets/capture.worklet.js');
    const node = new AudioWorkletNode(context, 'capture', {
      numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit',
    });
    node.port.onmessage = ({ data }) => onframe(data);
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
    return { close: () => context.close() };
  } catch (problem) {
    await context.close();
    throw problem;
  }
}
