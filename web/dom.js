// Elements made from values. Nothing here, and nothing in the page, makes markup from text: what callers send
// (numbers, names, transcripts) becomes text nodes and attributes only.

const SVG = 'http://www.w3.org/2000/svg';

/** What shows nothing or steers how the rest is shown: the characters of src/base/visible.rs. */
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0\u{E0000}-\u{E0FFF}]/gu;
const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
/** Text with such characters as escapes, the way log and `tandem calls` show them. */
export const visible = (text) =>
  text.replace(INVISIBLE, (one) => SHORT[one] ?? `\\u{${one.codePointAt(0).toString(16)}}`);
const SPOKEN = new Set(['aria-label', 'aria-valuetext', 'title']);
const shown = (child) => (typeof child === 'string' ? visible(child) : child);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : SPOKEN.has(name) ? shown(value) : value);
  }
  const there = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...there.map(shown));
  return element;
}

/** An HTML element; `on…` attributes are listeners, children are elements or text. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Sets the text only where it changes, so that a screen reader's place and a selection survive. */
export function setText(element, text) {
  const now = shown(text);
  if (element.textContent !== now) element.textContent = now;
}

/** Text that came from outside, kept from reordering what stands beside it. */
export const foreign = (text, attributes) => h('bdi', attributes, text);

/** Says it to a screen reader. */
export function announce(text) {
  const announcer = document.getElementById('announcer');
  announcer.textContent = '';
  requestAnimationFrame(() => (announcer.textContent = shown(text)));
}

/** A message with the colour and the role of an error. */
export const errorBox = (text) => h('p', { class: 'problem', role: 'alert' }, text);

/** Asks before something that cannot be taken back; resolves to whether it was confirmed. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': 'question' },
      h('form', { method: 'dialog' },
        h('p', { id: 'question' }, question),
        h('p', { class: 'buttons' },
          h('button', { value: 'no', autofocus: true }, 'Cancel'),
          h('button', { value: 'yes', class: 'danger' }, action))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A level meter from −60 to 0 dBFS. */
export function meter(label, kind) {
  const bar = h('span', { class: 'bar' });
  const element = h('span', {
    class: `meter ${kind}`, role: 'meter', 'aria-label': label, 'aria-valuemin': -60, 'aria-valuemax': 0,
    'aria-valuenow': -60,
  }, bar);
  return {
    element,
    set(dbfs, speaking = false) {
      const shown = Math.round(Math.min(0, Math.max(-60, dbfs ?? -60)));
      if (Number(element.getAttribute('aria-valuenow')) !== shown) {
        element.setAttribute('aria-valuenow', shown);
        bar.style.transform = `scaleX(${(shown + 60) / 60})`;
      }
      element.classList.toggle('speaking', speaking);
    },
  };
}
