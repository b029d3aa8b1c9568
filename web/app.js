// Routes, the head of the page, the token.

import { ApiError, feed, onUnauthorized, post } from './api.js';
import { announce, h, setText } from './dom.js';
import { showDock } from './dock.js';
import { openCall } from './call.js';
import { openCalls } from './calls.js';
import { openCompare } from './compare.js';
import { openLive } from './live.js';
import * as format from './format.js';
import { SHORTCUTS } from './player.js';
import { openTelephone } from './telephone.js';

const main = document.getElementById('main');
const VIEWS = {
  live: { title: 'Live', open: openLive },
  calls: { title: 'Calls', open: openCalls },
  compare: { title: 'Compare', open: openCompare },
  call: { title: 'Call', open: openCall, under: 'calls' },
  telephone: { title: 'Telephone', open: openTelephone },
};

/** Whether this browser has signed in; the cookie itself cannot be read by the page. */
const SIGNED_IN = 'tandem-signed-in';
const signOut = document.getElementById('sign-out');
function showSignOut(signedIn) {
  if (signedIn) localStorage.setItem(SIGNED_IN, '1');
  else localStorage.removeItem(SIGNED_IN);
  signOut.hidden = !signedIn;
}

let close = () => {};
let asking = false;

function place() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/');
  let known;
  try {
    known = decodeURIComponent(id ?? '');
  } catch {
    known = id;
  }
  return { name: Object.hasOwn(VIEWS, name) ? name : 'live', id: known, query: new URLSearchParams(query) };
}

function show({ focus = true } = {}) {
  // The link that skips to the content is no view.
  if (location.hash === '#main') return main.focus();
  const { name, id, query } = place();
  const view = VIEWS[name];
  close();
  main.replaceChildren();
  document.title = `${view.title} – Tandem`;
  for (const link of document.querySelectorAll('nav [data-view]')) {
    if (link.dataset.view === (view.under ?? name)) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  asking = false;
  close = view.open(main, { id, query }) ?? (() => {});
  if (focus) main.querySelector('h1')?.focus();
}

function askForToken() {
  if (asking) return;
  asking = true;
  showSignOut(false);
  close();
  close = () => {};
  feed.stop();
  document.title = 'Sign in – Tandem';
  const token = h('input', { id: 'token', type: 'password', autocomplete: 'current-password', required: true });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const form = h('form', { class: 'card sign-in' },
    h('h1', { tabindex: -1 }, 'Sign in'),
    h('p', {}, 'This relay asks for its admin token: the value of ', h('code', {}, 'admin.token'), ' in its configuration.'),
    h('label', { for: 'token' }, 'Token'), token, problem, h('button', { class: 'primary' }, 'Sign in'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    try {
      await post('/api/login', { token: token.value });
      showSignOut(true);
      show();
      feed.connect();
    } catch (error) {
      setText(problem, error instanceof ApiError && [401, 403].includes(error.status) ? 'This is not the token of this relay.' : error.message);
      problem.hidden = false;
      token.select();
    }
  });
  main.replaceChildren(form);
  token.focus();
}

const LINK_STATES = { connecting: 'Connecting …', up: 'Connected', lost: 'Connection lost, trying again …', off: 'Paused' };
let lostAt = null;
function showLinkState() {
  const element = document.getElementById('link-state');
  element.className = `link-state ${feed.state}`;
  lostAt = feed.state === 'lost' ? lostAt ?? new Date() : null;
  setText(element, lostAt ? `Connection lost since ${format.time(lostAt.toISOString())}, trying again …` : LINK_STATES[feed.state]);
  document.body.classList.toggle('stale', feed.state === 'lost');
}

document.addEventListener('keydown', (event) => {
  if (event.key !== '?' || event.target.closest('input, select, textarea, dialog')) return;
  const dialog = h('dialog', { 'aria-labelledby': 'keys' }, h('form', { method: 'dialog' }, h('h2', { id: 'keys' }, 'Keys on a call’s page'),
    h('dl', { class: 'facts' }, SHORTCUTS.map(([keys, what]) => h('div', {}, h('dt', {}, keys), h('dd', {}, what)))), h('p', { class: 'buttons' }, h('button', {}, 'Close'))));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
});

signOut.addEventListener('click', async () => {
  await post('/api/logout').catch(() => {});
  askForToken();
});
showSignOut(localStorage.getItem(SIGNED_IN) !== null);
onUnauthorized(askForToken);
feed.addEventListener('state', showLinkState);
feed.addEventListener('state', ({ detail }) => detail === 'lost' && announce('Connection to the relay lost'));
window.addEventListener('hashchange', () => show());
showLinkState();
showDock();
show({ focus: false });
feed.start();
