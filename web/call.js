// One call: what is known of it, its transcript beside its recording; while it runs, what it does now.

import { callPath, feed, get, post } from './api.js';
import { announce, errorBox, foreign, h, meter, setText } from './dom.js';
import * as format from './format.js';
import { listener } from './listen.js';
import { hangUp, speaking } from './live.js';
import { timeline } from './timeline.js';
import { player } from './player.js';
import { verdict } from './verdict.js';
import { events as readable, summary, waits } from './why.js';
import { callsHash } from './calls.js';

/** An ended call reaches its record a moment later. */
const RECORD_TRIES = 20;
const RECORD_WAIT_MS = 500;
/** How often it is asked what is said in a running call. */
const TRANSCRIPT_MS = 1000;

export function openCall(root, { id }) {
  const abort = new AbortController();
  let closePart = () => {};
  const close = () => {
    abort.abort();
    closePart();
  };
  const title = h('h1', { tabindex: -1 }, 'Call');
  const content = h('div', {}, h('p', { class: 'empty' }, 'Loading …'));
  root.append(h('p', { class: 'back' }, h('a', { href: callsHash() }, '← Calls')), title, content);

  const show = (call) => {
    closePart();
    title.replaceChildren('Call of ', foreign(call.caller || 'unknown'), call.did ? ' to ' : '', call.did ? foreign(call.did) : '');
    document.title = `Call of ${format.caller(call)} – Tandem`;
    content.replaceChildren();
    closePart = call.live ? running(content, call, record) : ended(content, call, abort.signal);
  };
  const load = async () => {
    try {
      show(await get(callPath(id), abort.signal));
    } catch (error) {
      if (error.name === 'AbortError') return;
      content.replaceChildren(error.status === 404 ? h('p', { class: 'empty' }, 'There is no call with this id. Its record may have been deleted after the time that the configuration says.') : errorBox(error.message));
    }
  };
  // The call has ended while it was looked at.
  async function record() {
    announce('The call has ended');
    for (let tries = 0; tries < RECORD_TRIES && !abort.signal.aborted; tries += 1) {
      try {
        const call = await get(callPath(id), abort.signal);
        if (!call.live) return show(call);
      } catch (error) {
        if (error.name === 'AbortError') return;
        if (error.status !== 404 && error.status !== 0) break;
      }
      await new Promise((done) => setTimeout(done, RECORD_WAIT_MS));
    }
    if (!abort.signal.aborted) load();
  }
  load();
  return close;
}

const fact = (label, value, title) => {
  const element = h('dd', {}, value);
  return { element: h('div', { title }, h('dt', {}, label), element), value: element };
};
const facts = (list) => h('dl', { class: 'facts' }, list.filter(Boolean).map(([label, value, title]) => fact(label, value, title).element));

function running(content, first, onend) {
  const problem = h('div');
  const say = (text) => problem.replaceChildren(errorBox(text));
  let call = first;
  const caller = meter('Caller’s level', 'caller');
  const agent = meter('Agent’s level', 'agent');
  const who = h('span');
  const listen = h('button', { class: 'primary', onclick: () => (listener.call?.id === call.id ? listener.stop() : listener.start(call)) }, 'Listen');
  const pause = h('button', { hidden: true, onclick: async () => {
    const what = call.recording_paused ? 'resume' : 'pause';
    await ask(() => post(callPath(call.id, `/recording/${what}`)), what === 'pause' ? 'The recording pauses.' : 'The recording goes on.');
  } });
  const done = h('p', { class: 'quiet', role: 'status' });
  const ask = async (act, words) => {
    problem.replaceChildren();
    setText(done, '');
    try {
      await act();
      setText(done, words);
      return true;
    } catch (error) {
      say(error.message);
      return false;
    }
  };
  const sayText = h('input', { id: 'say', required: true, maxlength: 1000, autocomplete: 'off' });
  const sayForm = h('form', { class: 'line' }, h('label', { for: 'say' }, 'Let the agent say'), sayText, h('button', {}, 'Say'));
  sayForm.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (await ask(() => post(callPath(call.id, '/say'), { text: sayText.value }), 'The agent was asked to say it.')) sayText.value = '';
  });
  const to = h('input', { id: 'to', required: true, maxlength: 64, autocomplete: 'off' });
  const transferForm = h('form', { class: 'line' }, h('label', { for: 'to' }, 'Transfer to'), to, h('button', {}, 'Transfer'));
  transferForm.addEventListener('submit', async (event) => {
    event.preventDefault();
    await ask(() => post(callPath(call.id, '/transfer'), { to: to.value }), 'The call is being transferred.');
  });
  const state = h('span', { class: 'state' });
  const now = h('div');
  const said = h('div', { class: 'said-now', tabindex: 0, role: 'region', 'aria-label': 'What is said' });
  content.append(problem,
    h('section', { class: 'card', 'aria-labelledby': 'now' },
      h('div', { class: 'section-head' }, h('h2', { id: 'now' }, 'Now'), state),
      h('dl', { class: 'levels' }, h('dt', {}, 'Caller'), h('dd', {}, caller.element), h('dt', {}, 'Agent'), h('dd', {}, agent.element),
        h('dt', {}, 'Speaking'), h('dd', {}, who)),
      h('p', { class: 'buttons' }, listen, pause, h('button', { class: 'danger', onclick: () => hangUp(call, say) }, 'Hang up')),
      sayForm, transferForm, done),
    h('section', { class: 'card', 'aria-labelledby': 'said' }, h('h2', { id: 'said' }, 'What is said'), said),
    h('section', { class: 'card', 'aria-labelledby': 'facts' }, h('h2', { id: 'facts' }, 'Facts'), now));
  let told = '';
  const read = (turns) => {
    const next = JSON.stringify(turns ?? []);
    if (next === told) return;
    told = next;
    const follows = said.scrollHeight - said.scrollTop - said.clientHeight < 40;
    const waited = waits(turns);
    said.replaceChildren(turns.length > 0 ? h('ol', { class: 'transcript', 'aria-live': 'polite' }, turns.map((turn, at) => transcriptTurn(turn, waited[at], null).item))
      : h('p', { class: 'empty' }, 'Nothing yet, or the agent does not ask for transcripts.'));
    if (follows) said.scrollTop = said.scrollHeight;
  };
  read(first.transcript);
  const timer = setInterval(() => feed.state === 'up' && !document.hidden
    && get(callPath(call.id)).then((found) => found.live && read(found.transcript)).catch(() => {}), TRANSCRIPT_MS);

  const draw = () => {
    setText(state, format.state(call.state));
    state.dataset.state = call.state;
    caller.set(call.caller_level_dbfs, call.caller_speaking);
    agent.set(call.agent_level_dbfs, call.agent_speaking);
    setText(who, speaking(call));
    setText(listen, listener.call?.id === call.id ? 'Stop listening' : 'Listen');
    pause.hidden = !call.recorded;
    setText(pause, call.recording_paused ? 'Resume recording' : 'Pause recording');
    now.replaceChildren(facts([
      ['Time', format.duration(call.duration_s)],
      ['Began', format.fullTime(call.offered_at)],
      ['Agent', foreign(format.text(call.agent))],
      ['Model', format.text(call.model)],
      ['Credential', format.text(call.credential)],
      ['Line', `${format.text(call.leg)} from ${format.text(call.peer)}`],
      ['Answer latency', `p50 ${format.ms(call.answer_ms_p50)}, max ${format.ms(call.answer_ms_max)}`],
      ['Turns', `${format.count(call.turns)}, ${format.count(call.barge_ins)} interrupted`],
      ['Resumptions', `${format.count(call.resumptions)}, longest gap ${format.ms(call.gap_ms_max)}`],
      ['Underruns', format.count(call.underruns)],
      ['Lost frames', format.count(call.lost_frames)],
      ['UUID', foreign(format.text(call.uuid))],
    ]));
  };
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    onend();
  };
  const onCalls = () => {
    const found = feed.calls?.find(({ id }) => id === call.id);
    if (found) call = found;
    // A call that is on the list no more has ended, even where its event was missed.
    else if (feed.state === 'up' && seen) return end();
    seen ||= found !== undefined;
    draw();
  };
  let seen = false;
  const onEnded = ({ detail }) => detail === call.id && end();
  feed.addEventListener('calls', onCalls);
  feed.addEventListener('ended', onEnded);
  listener.addEventListener('change', draw);
  draw();
  return () => {
    clearInterval(timer);
    feed.removeEventListener('calls', onCalls);
    feed.removeEventListener('ended', onEnded);
    listener.removeEventListener('change', draw);
  };
}

function ended(content, call, signal) {
  const part = h('section', { class: 'card', 'aria-labelledby': 'conversation' }, h('h2', { id: 'conversation' }, 'Conversation'));
  const drawn = h('div');
  part.append(drawn);
  content.append(h('section', { class: 'card summary', 'aria-label': 'Verdict' }, h('p', {}, verdict(call)), h('p', {}, foreign(summary(call)))), part,
    h('section', { class: 'card', 'aria-labelledby': 'facts' }, h('h2', { id: 'facts' }, 'Facts'), recordFacts(call)),
    eventsPart(readable(call), (at) => seek(at)));
  let closeTimeline = () => {};
  let seek = () => {};
  (async () => {
    let waveform = null;
    let note = null;
    if (call.recording) {
      try {
        waveform = await get(callPath(call.id, '/waveform'), signal);
      } catch (error) {
        if (error.name === 'AbortError') return;
        note = `The waveform is not there: ${error.message}`;
      }
    }
    if (signal.aborted) return;
    ({ close: closeTimeline, seek } = conversation(drawn, call, waveform, note));
  })();
  return () => closeTimeline();
}

/** Facts in groups; what is rarely asked for is folded. */
function recordFacts(call) {
  const failed = (call.watchdog_commits ?? 0) + (call.watchdog_nudges ?? 0) + (call.watchdog_resumptions ?? 0) + (call.watchdog_sessions ?? 0);
  const talk = (talking, silence) => `${format.seconds(talking)} speech, ${format.seconds(silence)} silence`;
  const group = (name, list) => h('section', { class: 'group' }, h('h3', {}, name), facts(list));
  return h('div', {},
    group('Conversation', [
      ['Began', format.fullTime(call.offered_at)],
      ['Time', format.duration(call.duration_s)],
      ['Agent', foreign(format.text(call.agent))],
      ['Ended by', `${format.text(call.ended_by)}: ${format.words(call.outcome)}`, call.reason],
      ['Caller', talk(call.caller_talk_s, call.caller_silence_s)],
      ['Agent’s voice', talk(call.agent_talk_s, call.agent_silence_s)],
      ['Turns', `${format.count(call.turns)}, ${format.count(call.barge_ins)} interrupted`],
      ['Tools', `${format.count(call.tools_called)} called, ${format.count(call.tools_failed)} failed`],
    ]),
    group('Quality', [
      ['Answer latency', `p50 ${format.ms(call.answer_ms_p50)}, max ${format.ms(call.answer_ms_max)}`, 'From the caller’s last word to the first that they heard of the answer'],
      ['Underruns', `${format.count(call.underruns)}, ${format.ms(call.underrun_ms)}`, 'Times that the agent’s voice ran dry within a sentence'],
      ['Gaps at the switch', `${format.count(call.switch_gaps)}, ${format.ms(call.switch_gap_ms)}`, 'Silence that the switch played because speech came too late'],
      ['Lost frames', format.count(call.lost_frames), 'Pieces of 20 ms of the caller’s voice that the model did not hear'],
      ['Resumptions', `${format.count(call.resumptions)}, gaps ${format.ms(call.gap_ms_total)} in all, ${format.ms(call.gap_ms_max)} the longest`, 'Connections to the model that went on with the conversation'],
      ['Watchdog', failed === 0 ? 'nothing to do' : `${failed} steps, ${format.count(call.watchdog_healed)} healed`, 'What the relay did because the model did not answer'],
    ]),
    group('Model and cost', [
      ['Model', format.text(call.model)],
      ['Credential', format.text(call.credential)],
      ['Tokens', `${format.count(call.prompt_tokens)} in, ${format.count(call.response_tokens)} out`],
      ['Estimated cost', format.money(call.cost, call.cost_currency)],
    ]),
    h('details', { class: 'group' }, h('summary', {}, 'Line, times and names'), facts([
      ['Line', `${format.text(call.leg)} from ${format.text(call.peer)}`],
      ['Reason', foreign(format.text(call.reason))],
      call.hang_up_cause && ['Hang-up cause', foreign(call.hang_up_cause)],
      ['Answered', format.fullTime(call.answered_at)],
      ['First audio to the caller', format.fullTime(call.first_audio_at)],
      ['Ended', format.fullTime(call.ended_at)],
      ['Heard after an interruption', `${format.ms(call.barge_in_residual_ms_max)} at most`],
      ['Sessions begun anew', format.count(call.fresh_sessions)],
      ['Recording', call.recording ? `${call.recording.format}, ${format.duration(call.recording.seconds)}, ${format.bytes(call.recording.bytes)}${failed_recording(call)}` : `none${failed_recording(call)}`],
      ['UUID', foreign(format.text(call.uuid))],
      ['Record', format.text(call.id)],
    ])));
}

function failed_recording(call) {
  const event = (call.events ?? []).find((event) => event.kind === 'recording_failed');
  return event ? `; it failed: ${format.text(event.detail)}` : '';
}

function conversation(element, call, waveform, note) {
  const transcript = [...(call.transcript ?? [])].sort((a, b) => a.start_ms - b.start_ms);
  const events = readable(call);
  const waited = waits(transcript);
  const audio = call.recording ? h('audio', { preload: 'metadata', src: callPath(call.id, '/recording') }) : null;
  const problem = h('div');
  const spans = [(call.duration_s ?? 0) * 1000, (call.recording?.seconds ?? 0) * 1000, ...transcript.map(({ end_ms }) => end_ms ?? 0)];
  const seek = (at) => {
    if (!audio) return;
    audio.currentTime = Math.max(0, at / 1000);
    line.setTime(at);
  };
  const controls = audio ? player(audio, waveform, `${call.id}.${call.recording.format === 'opus' ? 'ogg' : 'wav'}`) : null;
  const line = timeline({
    durationMs: Math.max(...spans), waveform, transcript, events, onseek: audio ? seek : undefined, ontoggle: controls?.toggle,
  });
  const turns = transcript.map((turn, index) => transcriptTurn(turn, waited[index], audio ? () => {
    seek(turn.start_ms);
    audio.play().catch(() => {});
  } : null));
  const follow = () => {
    const at = audio.currentTime * 1000;
    line.setTime(at);
    turns.forEach(({ item }, index) => {
      const { start_ms, end_ms } = transcript[index];
      if (at >= start_ms && at < end_ms && !audio.paused) item.setAttribute('aria-current', 'true');
      else item.removeAttribute('aria-current');
    });
  };
  let frame = 0;
  const animate = () => {
    follow();
    if (!audio.paused) frame = requestAnimationFrame(animate);
  };
  if (audio) {
    audio.addEventListener('play', animate);
    for (const name of ['pause', 'seeked', 'ended']) audio.addEventListener(name, follow);
    audio.addEventListener('error', () => problem.replaceChildren(errorBox('The recording cannot be played: its file may have been deleted, or this browser does not know its format.')));
  }
  element.append(problem, note ? h('p', { class: 'quiet' }, note) : '', line.element, ...(audio ? [audio, controls.element] : [h('p', { class: 'quiet' }, 'This call was not recorded.')]),
    transcript.length > 0
      ? h('ol', { class: 'transcript' }, turns.map(({ item }) => item))
      : h('p', { class: 'empty' }, 'No transcript: nothing was said, or the agent does not ask for transcriptions.'));
  return {
    seek,
    close() {
      cancelAnimationFrame(frame);
      audio?.pause();
      controls?.close();
      line.close();
    },
  };
}

/** A longer wait than this is marked. */
const LONG_MS = 3000;

function transcriptTurn(turn, wait, onclick) {
  const heard = turn.interrupted && turn.heard_text && turn.text?.startsWith(turn.heard_text) ? turn.heard_text : null;
  const words = heard === null ? [turn.text] : [heard, h('span', { class: 'unheard', title: 'not heard by the caller' }, turn.text.slice(heard.length))];
  const when = onclick
    ? h('button', { class: 'when', onclick, 'aria-label': `Play from ${format.position(turn.start_ms)}` }, format.position(turn.start_ms))
    : h('span', { class: 'when' }, format.position(turn.start_ms));
  const said = h('p', { class: 'said', dir: 'auto' }, words, turn.interrupted ? h('span', { class: 'tag' }, 'interrupted') : '');
  if (onclick) said.addEventListener('click', onclick);
  return {
    item: h('li', { class: `turn ${turn.speaker === 'caller' ? 'caller' : 'agent'} ${onclick ? 'plays' : ''}` }, when,
      h('div', {}, h('span', { class: 'speaker' }, turn.speaker),
        wait ? h('span', { class: wait.ms > LONG_MS ? 'wait long' : 'wait', title: 'From the end of the caller’s speech, as the relay noticed it, to this turn' }, `after ${format.ms(wait.ms)}`) : null, said)),
  };
}

function eventsPart(events, onseek) {
  if (!events?.length) return h('section', { class: 'card' }, h('h2', {}, 'Events'), h('p', { class: 'empty' }, 'Nothing unusual happened.'));
  return h('section', { class: 'card', 'aria-labelledby': 'events' }, h('h2', { id: 'events' }, 'Events'),
    h('table', { class: 'events' }, h('thead', {}, h('tr', {}, ['At', 'What', 'Detail'].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, events.map(({ at_ms, words, detail, severe }, index) => {
        const second = (event) => event && Math.floor(event.at_ms / 1000);
        const shared = [events[index - 1], events[index + 1]].some((other) => second(other) === second({ at_ms }));
        const at = shared ? format.exactPosition(at_ms) : format.position(at_ms);
        return h('tr', { class: severe ? 'severe' : null },
          h('td', {}, h('button', { class: 'when', onclick: () => onseek(at_ms), 'aria-label': `Go to ${at}` }, at)),
          h('td', {}, severe ? h('span', { 'aria-hidden': 'true' }, '! ') : null, words), h('td', {}, foreign(detail ?? '')));
      }))));
}
