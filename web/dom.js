// Elements made from values. Nothing here, and nothing in the page, makes markup from text: what callers send
// (numbers, names, transcripts) becomes text nodes and attributes only.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element; `on…` attributes are listeners, children are elements or text. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for SVG. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Sets the text only where it changes, so that a screen reader's place and a selection survive. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Text that came from outside, kept from reordering what stands beside it. */
export const foreign = (text, attributes) => h('bdi', attributes, text);

/** Says it to a screen reader. */
export function announce(text) {
  const announcer = document.getElementById('announcer');
  announcer.textContent = '';
  requestAnimationFrame(() => (announcer.textContent = text));
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
