// The player of a recording: speed, silence left out, each side to be muted, keys.

import { h, setText } from './dom.js';
import * as format from './format.js';

/** Below this peak nobody speaks; a pause that is shorter than this stays. */
const SILENT = 0.02;
const PAUSE_MS = 1_000;
/** Of a pause that is left out, what stays before speech. */
const LEAD_MS = 300;

export const SHORTCUTS = [['Space or K', 'play, pause'], ['J', '10 s back'], ['L', '10 s on'], ['S', 'leave silence out'], ['<, >', 'slower, faster'], ['?', 'this list']];
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];

/** Where both sides are silent for long, as [from, to] in milliseconds. */
export function pauses(waveform) {
  const found = [];
  if (!waveform) return found;
  const { caller, agent, interval_ms: step } = waveform;
  let from = null;
  for (let at = 0; at <= caller.length; at += 1) {
    const silent = at < caller.length && Math.max(caller[at], agent[at] ?? 0) < SILENT;
    if (silent) from ??= at * step;
    else if (from !== null) {
      if (at * step - from >= PAUSE_MS) found.push([from + LEAD_MS, at * step - LEAD_MS]);
      from = null;
    }
  }
  return found;
}

/** Controls for this audio element, whose left side is the caller and whose right side is the agent. */
export function player(audio, waveform, name) {
  const silent = pauses(waveform);
  const play = h('button', { class: 'primary', onclick: () => toggle() }, 'Play');
  const clock = h('span', { class: 'number' });
  const speed = h('select', { 'aria-label': 'Speed' }, SPEEDS.map((one) => h('option', { value: one, selected: one === 1 }, `${one}×`)));
  const skip = h('button', { 'aria-pressed': 'false', disabled: silent.length === 0, onclick: () => leaveOut() }, 'Leave silence out');
  const sides = ['caller', 'agent'].map((side) => {
    const button = h('button', { 'aria-pressed': 'false', onclick: () => mute(side, button) }, `Mute ${side}`);
    return button;
  });
  const element = h('div', { class: 'player', role: 'group', 'aria-label': 'Player' }, play,
    h('button', { onclick: () => move(-10), 'aria-label': '10 seconds back' }, '−10 s'), h('button', { onclick: () => move(10), 'aria-label': '10 seconds on' }, '+10 s'),
    clock, h('label', {}, 'Speed ', speed), skip, sides, h('a', { class: 'button', href: audio.src, download: name }, 'Download'));

  const toggle = () => (audio.paused ? audio.play().catch(() => {}) : audio.pause());
  const move = (seconds) => (audio.currentTime = Math.min(Math.max(0, audio.currentTime + seconds), audio.duration || 0));
  const leaveOut = () => skip.setAttribute('aria-pressed', skip.getAttribute('aria-pressed') !== 'true');
  speed.addEventListener('change', () => (audio.playbackRate = Number(speed.value)));
  const faster = (by) => {
    speed.selectedIndex = Math.min(Math.max(0, speed.selectedIndex + by), SPEEDS.length - 1);
    audio.playbackRate = SPEEDS[speed.selectedIndex];
  };

  // Made at the first wish to mute, because a browser gives it to those who have pressed something.
  let context = null;
  const gains = {};
  function mute(side, button) {
    if (!context) {
      context = new AudioContext();
      const both = context.createChannelSplitter(2);
      context.createMediaElementSource(audio).connect(both);
      ['caller', 'agent'].forEach((one, channel) => {
        gains[one] = context.createGain();
        both.connect(gains[one], channel);
        gains[one].connect(context.destination);
      });
    }
    context.resume();
    const muted = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', muted);
    gains[side].gain.value = muted ? 0 : 1;
  }

  const show = () => {
    setText(play, audio.paused ? 'Play' : 'Pause');
    setText(clock, `${format.duration(audio.currentTime)} of ${format.duration(Number.isFinite(audio.duration) ? audio.duration : null)}`);
  };
  const follow = () => {
    show();
    if (audio.paused || skip.getAttribute('aria-pressed') !== 'true') return;
    const at = audio.currentTime * 1000;
    const pause = silent.find(([from, to]) => at >= from && at < to);
    if (pause) audio.currentTime = pause[1] / 1000;
  };
  audio.addEventListener('timeupdate', follow);
  for (const event of ['play', 'pause', 'ended', 'loadedmetadata', 'durationchange', 'seeked']) audio.addEventListener(event, show);

  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea, button, a, dialog, [role="slider"]')) return;
    const act = { ' ': toggle, k: toggle, j: () => move(-10), l: () => move(10), s: () => !skip.disabled && leaveOut(), '<': () => faster(-1), '>': () => faster(1) }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  };
  document.addEventListener('keydown', onKey);
  show();
  return {
    element,
    toggle,
    close() {
      document.removeEventListener('keydown', onKey);
      context?.close();
    },
  };
}
