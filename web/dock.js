// The bar at the foot of the page: what is heard here, whichever view is shown.

import { h } from './dom.js';
import * as format from './format.js';
import { listener } from './listen.js';
import { phone } from './phone.js';

export function showDock() {
  const dock = document.getElementById('dock');
  const draw = () => {
    const parts = [];
    if (listener.call) {
      parts.push(h('p', {}, listener.state === 'live' ? 'Listening to the call of ' : 'Connecting to the call of ',
        h('a', { href: `#/call/${encodeURIComponent(listener.call.id)}` }, h('bdi', {}, format.caller(listener.call))),
        h('span', { class: 'quiet' }, ' – caller left, agent right'),
        h('button', { onclick: () => listener.stop() }, 'Stop listening')));
    } else if (listener.problem) {
      parts.push(h('p', { role: 'alert' }, listener.problem, h('button', { onclick: () => listener.dismiss() }, 'Dismiss')));
    }
    // The telephone's own view shows it already.
    if (phone.busy && !location.hash.startsWith('#/telephone')) {
      parts.push(h('p', {}, h('a', { href: '#/telephone' }, 'Telephone'), `: ${phone.words}`,
        h('button', { class: 'danger', onclick: () => phone.hangUp() }, 'Hang up')));
    }
    dock.replaceChildren(...parts);
    dock.hidden = parts.length === 0;
  };
  listener.addEventListener('change', draw);
  phone.addEventListener('change', draw);
  window.addEventListener('hashchange', draw);
  draw();
}
