// Values as an operator reads them. What is unknown is a dash.

const NONE = '–';
const known = (value) => value !== null && value !== undefined && value !== '';

/** 3725 → 1:02:05 */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** Milliseconds of a call as a position in it. */
export const position = (ms) => (known(ms) ? duration(ms / 1000) : NONE);

/** A position with its milliseconds, where the second alone does not tell two apart. */
export const exactPosition = (ms) => `${position(ms)}.${String(Math.floor(ms % 1000)).padStart(3, '0')}`;

/** Milliseconds, from a second on as seconds. */
export const ms = (value) => {
  if (!known(value)) return NONE;
  return value < 1000 ? `${Math.round(value * 10) / 10} ms` : `${(value / 1000).toFixed(1)} s`;
};
export const seconds = (value) => (known(value) ? `${Math.round(value * 10) / 10} s` : NONE);
export const count = (value) => (known(value) ? value.toLocaleString() : NONE);
export const text = (value) => (known(value) ? String(value) : NONE);

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const dayAndClock = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

/** A point in time on the reader's clock; the day only where it is not today. */
export function time(iso) {
  const at = new Date(iso ?? NaN);
  if (Number.isNaN(at.getTime())) return NONE;
  return (at.toDateString() === new Date().toDateString() ? clock : dayAndClock).format(at);
}

export const fullTime = (iso) => {
  const at = new Date(iso ?? NaN);
  return Number.isNaN(at.getTime()) ? NONE : dayAndClock.format(at);
};

export const bytes = (value) => {
  if (!known(value)) return NONE;
  return value < 1_000_000 ? `${Math.round(value / 1000)} kB` : `${Math.round(value / 100_000) / 10} MB`;
};

export const money = (value, currency) => (known(value) ? `${value.toFixed(value < 1 ? 4 : 2)} ${text(currency)}` : NONE);

/** Who calls, for a sentence. */
export const caller = (call) => call.caller || 'an unknown caller';

const STATES = {
  dialing: 'connecting to the model', live: 'live', resuming: 'resuming its session', detached: 'line lost, waiting',
  closing: 'ending',
};
export const state = (name) => STATES[name] ?? text(name);

/** A constant word of the relay as words: leg_lost → leg lost. */
export const words = (label) => text(label).replaceAll('_', ' ');
