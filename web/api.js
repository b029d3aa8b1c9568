// The relay's API: requests, its errors in words, and the stream of what happens.

/** An answer that is none: `status` is 0 when the relay was not reached. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let askForToken = () => {};
/** What to do when the relay asks who is there. */
export const onUnauthorized = (ask) => (askForToken = ask);

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: 'same-origin', cache: 'no-store', ...options });
  } catch (problem) {
    if (problem.name === 'AbortError') throw problem;
    throw new ApiError(0, 'The relay cannot be reached. Does it run, and is the tunnel open?');
  }
  if (response.status === 401 && path !== '/api/login') askForToken();
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new ApiError(response.status, answer.error ?? answer.why ?? `The relay answered ${response.status} ${response.statusText}`);
  }
  return response;
}

/** GET, JSON. */
export const get = async (path, signal) => (await request(path, { signal })).json();

/** GET, the response itself, for bodies without an end. */
export const open = (path, signal) => request(path, { signal });

/** POST, JSON both ways. */
export async function post(path, body = {}) {
  const response = await request(path, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  const answer = await response.text();
  return answer.trim() === '' ? {} : JSON.parse(answer);
}

/** The path of a call, or of something of it. */
export const callPath = (id, rest = '') => `/api/calls/${encodeURIComponent(id)}${rest}`;

/** The stream says `totals` each second: this long without anything, and it is lost. */
const SILENT_MS = 6000;
const AGAIN_MS = 2000;

/**
 * What happens now. Events: `calls` (all running calls), `totals`, `ended` (detail: id), `state`.
 * Nobody looks at a hidden page, and browsers open few connections to a server: it is closed meanwhile.
 */
class Feed extends EventTarget {
  calls = null;
  totals = null;
  /** connecting, up, lost or off */
  state = 'off';
  #source = null;
  #again = 0;
  #watch = 0;

  start() {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.stop() : this.connect()));
    if (!document.hidden) this.connect();
  }

  stop() {
    this.#close();
    this.#become('off');
  }

  #close() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#again);
    clearTimeout(this.#watch);
  }

  connect() {
    this.#close();
    // A try after a loss is not news: it is still lost.
    if (this.state !== 'lost') this.#become('connecting');
    const source = (this.#source = new EventSource('/api/events'));
    const on = (name, act) => source.addEventListener(name, ({ data }) => {
      this.#alive();
      act(JSON.parse(data));
    });
    source.onopen = () => {
      this.#alive();
      this.#look();
    };
    source.onerror = () => this.#lose();
    on('calls', ({ calls }) => this.#take(calls));
    on('totals', (totals) => this.#say('totals', (this.totals = totals)));
    on('ended', ({ id }) => this.#say('ended', id));
    this.#watch = setTimeout(() => this.#lose(), SILENT_MS);
  }

  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#say('state', state);
  }

  #alive() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#lose(), SILENT_MS);
    this.#become('up');
  }

  #take(calls) {
    this.#say('calls', (this.calls = calls));
  }

  // The stream may say nothing until something changes.
  async #look() {
    try {
      this.#take((await get('/api/calls?state=live')).calls);
    } catch {
      // The stream itself tells whether the relay is there.
    }
  }

  async #lose() {
    this.#close();
    this.#become('lost');
    // An event stream does not tell why it was refused: a request does, and asks for the token where that is it.
    try {
      await get('/api/agents');
    } catch (problem) {
      if (problem.status === 401) return;
    }
    if (this.state === 'lost' && !document.hidden) this.#again = setTimeout(() => this.connect(), AGAIN_MS);
  }
}

export const feed = new Feed();
