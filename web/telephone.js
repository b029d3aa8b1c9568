// The view of the telephone.

import { get } from './api.js';
import { announce, errorBox, foreign, h, meter, setText } from './dom.js';
import * as format from './format.js';
import { phone } from './phone.js';

const KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];

export function openTelephone(root) {
  const choice = h('select', { id: 'agent' });
  const about = h('p', { class: 'quiet' });
  const call = h('button', { class: 'primary big', disabled: true, onclick: () => phone.call(choice.value) }, 'Call');
  const hangUp = h('button', { class: 'danger big', onclick: () => phone.hangUp() }, 'Hang up');
  const mute = h('button', { class: 'toggle', 'aria-pressed': 'false', onclick: () => phone.setMuted(!phone.muted) }, 'Mute');
  const words = h('p', { class: 'phone-words', role: 'status' });
  const clock = h('p', { class: 'phone-clock', role: 'timer' });
  const own = meter('Your level', 'caller');
  const theirs = meter('The agent’s level', 'agent');
  const heard = h('dd');
  const flushes = h('dd');
  const holes = h('dd');
  const keys = h('fieldset', { class: 'keys' }, h('legend', {}, 'Keypad'),
    KEYS.map((digit) => h('button', { type: 'button', onclick: () => phone.press(digit) }, digit)));
  const problem = h('div');
  const talking = h('div', { class: 'talking' }, clock,
    h('dl', { class: 'levels' }, h('dt', {}, 'You'), h('dd', {}, own.element), h('dt', {}, 'Agent'), h('dd', {}, theirs.element)),
    h('p', { class: 'buttons' }, hangUp, mute), keys,
    h('dl', { class: 'facts small' },
      h('div', {}, h('dt', {}, 'Heard'), heard),
      h('div', {}, h('dt', {}, 'Interrupted by you'), flushes),
      h('div', {}, h('dt', {}, 'Holes'), holes)));
  const choosing = h('div', { class: 'choosing' }, h('label', { for: 'agent' }, 'Agent'), choice, about, call);
  root.append(h('div', { class: 'column' }, h('h1', { tabindex: -1 }, 'Telephone'),
    h('section', { class: 'card phone', 'aria-label': 'Telephone' }, problem, words, choosing, talking), tunnelHelp()));

  let agents = [];
  const describe = () => {
    const agent = agents.find(({ name }) => name === choice.value);
    setText(about, agent ? [agent.model, agent.voice, agent.language].filter(Boolean).join(' · ') : '');
  };
  choice.addEventListener('change', describe);
  get('/api/agents').then((answer) => {
    ({ agents } = answer);
    choice.replaceChildren(...agents.map(({ name }) => h('option', { value: name }, name)));
    if (phone.agent) choice.value = phone.agent;
    call.disabled = agents.length === 0;
    if (agents.length === 0) problem.replaceChildren(errorBox('No agent is configured.'));
    describe();
  }, (error) => problem.replaceChildren(errorBox(error.message)));

  let said = phone.state;
  const draw = () => {
    words.replaceChildren(phone.words, phone.busy ? h('span', { class: 'quiet' }, ' Agent: ', foreign(phone.agent)) : '');
    words.classList.toggle('failed', phone.failed);
    if (said !== phone.state) {
      // The button that was pressed is gone: the one that takes its place is where the keyboard should be.
      if (phone.busy && !['asking', 'connecting', 'talking'].includes(said)) {
        choosing.hidden = true;
        talking.hidden = false;
        hangUp.focus();
      } else if (!phone.busy) {
        choosing.hidden = false;
        talking.hidden = true;
        call.focus();
      }
      said = phone.state;
    }
    choosing.hidden = phone.busy;
    talking.hidden = !phone.busy;
    mute.disabled = keys.disabled = phone.state !== 'talking';
    mute.setAttribute('aria-pressed', phone.muted);
    setText(mute, phone.muted ? 'Muted' : 'Mute');
    tick();
  };
  const levels = () => {
    own.set(phone.callerDbfs, phone.callerDbfs > -40);
    theirs.set(phone.agentDbfs, phone.agentDbfs > -40);
    setText(heard, format.seconds(phone.heard.playedSeconds));
    setText(flushes, `${phone.heard.flushes}×`);
    setText(holes, String(phone.heard.holes));
  };
  const tick = () => setText(clock, phone.state === 'talking' ? format.duration((Date.now() - phone.since) / 1000) : '');
  const timer = setInterval(tick, 500);
  phone.addEventListener('change', draw);
  phone.addEventListener('levels', levels);
  draw();
  levels();
  if (!window.isSecureContext) announce('A microphone needs a secure page.');
  return () => {
    clearInterval(timer);
    phone.removeEventListener('change', draw);
    phone.removeEventListener('levels', levels);
  };
}

function tunnelHelp() {
  const insecure = !window.isSecureContext;
  return h('details', { class: 'card help', open: insecure }, h('summary', {}, 'When the relay runs on another machine'),
    h('p', {}, 'Browsers give a microphone only to pages from this machine or over HTTPS. Bring both ports here with SSH:'),
    h('pre', {}, 'ssh -L 9095:127.0.0.1:9095 -L 9094:127.0.0.1:9094 RELAY'),
    h('p', {}, 'and open ', h('code', {}, 'http://localhost:9095/#/telephone'), '. Or give the relay TLS; docs/page.md of its sources says how.'));
}
