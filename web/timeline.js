// A call from its beginning to its end: both sides' waveforms, events, and where the recording is being played.

import { h } from './dom.js';
import * as format from './format.js';

const HEIGHT = 132;
const STEP_MS = 5000;
const PAGE_MS = 30_000;

/** `waveform` may be missing: then the transcript's turns show who spoke when. `onseek` missing: nothing to play. */
export function timeline({ durationMs, waveform, transcript, events, onseek, ontoggle }) {
  const canvas = h('canvas', { height: HEIGHT });
  const element = h('div', onseek
    ? { class: 'timeline', role: 'slider', tabindex: 0, 'aria-label': 'Position in the recording', 'aria-valuemin': 0, 'aria-valuemax': Math.round(durationMs / 1000) }
    : { class: 'timeline', role: 'img', 'aria-label': 'Who spoke when' }, canvas);
  const marks = h('ol', { class: 'marks', 'aria-label': 'What happened' });
  const whole = h('div', { class: 'timeline-whole' }, marks, element);
  let at = 0;
  const longest = Math.max(durationMs, 1);
  marks.append(...events.map(({ at_ms, words, detail, severe }) => {
    const text = `${format.position(at_ms)} ${words}${detail ? `: ${detail}` : ''}`;
    const share = Math.min(at_ms / longest, 1);
    const mark = h('button', { class: severe ? 'mark severe' : 'mark', 'aria-label': text, onclick: () => onseek?.(at_ms) },
      h('span', { class: share > 0.5 ? 'tip left' : 'tip', 'aria-hidden': 'true' }, text));
    mark.style.left = `${share * 100}%`;
    return h('li', {}, mark);
  }));

  const peakBetween = (levels, from, to) => {
    let peak = 0;
    for (let index = Math.floor(from); index < Math.max(Math.ceil(to), Math.floor(from) + 1); index += 1) peak = Math.max(peak, levels[index] ?? 0);
    return peak;
  };

  const draw = () => {
    const width = element.clientWidth;
    if (width === 0) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = HEIGHT * scale;
    const style = getComputedStyle(element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    pen.clearRect(0, 0, width, HEIGHT);
    const x = (ms) => (ms / longest) * width;
    const lanes = [['caller', 38, '--caller'], ['agent', 98, '--agent']];
    for (const [speaker, middle, name] of lanes) {
      pen.fillStyle = colour('--line');
      pen.fillRect(0, middle - 0.5, width, 1);
      pen.fillStyle = colour(name);
      if (waveform) {
        const perPixel = longest / waveform.interval_ms / width;
        for (let column = 0; column < width; column += 1) {
          // Loudness, not amplitude: speech would otherwise be a line with a few thorns.
          const half = Math.sqrt(peakBetween(waveform[speaker], column * perPixel, (column + 1) * perPixel)) * 26;
          pen.globalAlpha = x(at) >= column || !onseek ? 1 : 0.45;
          if (half > 0.5) pen.fillRect(column, middle - half, 1, half * 2);
        }
      } else {
        pen.globalAlpha = 0.7;
        for (const turn of transcript) {
          if (turn.speaker === speaker) pen.fillRect(x(turn.start_ms), middle - 10, Math.max(2, x(turn.end_ms - turn.start_ms)), 20);
        }
      }
      pen.globalAlpha = 1;
      pen.fillStyle = colour('--quiet');
      pen.font = '11px system-ui, sans-serif';
      pen.fillText(speaker, 4, middle - 20);
    }
    pen.fillStyle = colour('--mark');
    for (const event of events) {
      const place = Math.min(x(event.at_ms), width - 1);
      pen.globalAlpha = 0.55;
      pen.fillRect(place, 0, 1, HEIGHT);
      pen.globalAlpha = 1;
    }
    if (onseek) {
      pen.fillStyle = colour('--text');
      pen.fillRect(x(at) - 1, 0, 2, HEIGHT);
    }
  };

  const setTime = (ms) => {
    at = Math.min(Math.max(0, ms), longest);
    if (onseek) {
      element.setAttribute('aria-valuenow', Math.round(at / 1000));
      element.setAttribute('aria-valuetext', `${format.position(at)} of ${format.position(longest)}`);
    }
    draw();
  };
  if (onseek) {
    canvas.addEventListener('pointerdown', (event) => {
      element.focus();
      onseek((event.offsetX / element.clientWidth) * longest);
    });
    canvas.addEventListener('pointermove', (event) => event.buttons === 1 && onseek((event.offsetX / element.clientWidth) * longest));
    element.addEventListener('keydown', (event) => {
      const moves = { ArrowLeft: -STEP_MS, ArrowDown: -STEP_MS, ArrowRight: STEP_MS, ArrowUp: STEP_MS, PageDown: -PAGE_MS, PageUp: PAGE_MS };
      if (event.key in moves) onseek(at + moves[event.key]);
      else if (event.key === 'Home') onseek(0);
      else if (event.key === 'End') onseek(longest);
      else if (event.key === ' ') ontoggle();
      else return;
      event.preventDefault();
    });
  }
  const resized = new ResizeObserver(draw);
  resized.observe(element);
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  scheme.addEventListener('change', draw);
  setTime(0);
  return {
    element: whole,
    setTime,
    close() {
      resized.disconnect();
      scheme.removeEventListener('change', draw);
    },
  };
}
