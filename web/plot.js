// Lines over the last hour, drawn in SVG.

import { h, setText, svg } from './dom.js';
import * as format from './format.js';

const HOUR_MS = 3_600_000;
const HEIGHT = 150;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
/** Points farther apart than this have nothing between them: the relay was not there. */
const GAP_MS = 35_000;

/** The least of 1, 2, 5, 10, … that is not below `value`. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** Lines of `[key, label, class]` with one unit. `update` takes points with `at`, `now` marks one that is not final. */
export function plot(title, unit, lines, explanation) {
  const reading = h('p', { class: 'reading' });
  const drawing = svg('svg', { role: 'img', height: HEIGHT });
  const element = h('figure', { class: 'card plot' },
    h('figcaption', {}, h('strong', {}, title), h('span', { class: 'quiet' }, ` ${explanation}`)),
    h('p', { class: 'legend' }, lines.map(([, label, kind]) => h('span', { class: `key ${kind}` }, label))), reading, drawing);
  let points = [];
  let pointed = null;

  const draw = () => {
    const width = Math.max(240, drawing.clientWidth || element.clientWidth || 480);
    const end = Date.now();
    const start = end - HOUR_MS;
    const seen = points.filter(({ ms }) => ms >= start);
    const most = Math.max(0, ...seen.flatMap((point) => lines.map(([key]) => point[key] ?? 0)));
    const top = ceiling(Math.max(most, 1));
    const x = (at) => LEFT + ((at - start) / HOUR_MS) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const value = top * part;
      parts.push(svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toLocaleString()));
    }
    for (const minutes of width < 420 ? [60, 30, 0] : [60, 45, 30, 15, 0]) {
      const label = minutes === 0 ? 'now' : `−${minutes} min`;
      const anchor = minutes === 60 ? 'start' : minutes === 0 ? 'end' : 'middle';
      parts.push(svg('text', { x: x(end - minutes * 60_000), y: HEIGHT - 5, 'text-anchor': anchor }, label));
    }
    for (const [key, , kind] of [...lines].reverse()) {
      let path = '';
      let last = -Infinity;
      for (const point of seen) {
        if (point[key] === null || point[key] === undefined) continue;
        const joined = point.ms - last <= GAP_MS;
        // A point alone is a line without length, which the round caps make a dot.
        path += `${joined ? 'L' : 'M'}${x(point.ms).toFixed(1)} ${y(point[key]).toFixed(1)}${joined ? '' : 'h0'}`;
        last = point.ms;
      }
      parts.push(svg('path', { class: `line ${kind}`, d: path }));
    }
    const told = pointed === null ? seen.at(-1) : seen.reduce((a, b) =>
      (a && Math.abs(x(a.ms) - pointed) <= Math.abs(x(b.ms) - pointed) ? a : b), undefined);
    if (told && pointed !== null) parts.push(svg('line', { class: 'cross', x1: x(told.ms), x2: x(told.ms), y1: TOP, y2: HEIGHT - BOTTOM }));
    const values = told ? lines.map(([key, label]) => `${label} ${format.text(told[key] === null ? null : round(told[key]))}`).join(', ') : 'nothing yet';
    const words = told ? `${format.time(told.at)}: ${values} ${unit}` : 'Nothing measured yet';
    setText(reading, words);
    drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    drawing.setAttribute('aria-label', `${title}, last hour. ${words}; highest ${round(most)} ${unit}`);
    drawing.replaceChildren(...parts);
  };
  const round = (value) => Math.round((value ?? 0) * 10) / 10;
  drawing.addEventListener('pointermove', (event) => {
    pointed = event.offsetX;
    draw();
  });
  drawing.addEventListener('pointerleave', () => {
    pointed = null;
    draw();
  });
  const resized = new ResizeObserver(draw);
  resized.observe(element);
  return {
    element,
    update(next) {
      points = next.map((point) => ({ ...point, ms: Date.parse(point.at) })).filter(({ ms }) => !Number.isNaN(ms)).sort((a, b) => a.ms - b.ms);
      draw();
    },
    close: () => resized.disconnect(),
  };
}
