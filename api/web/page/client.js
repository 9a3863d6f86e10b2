// Talking to the API: requests with the token and the ETags they need, problems
// as errors that can be shown, and events as they come.

const root = new URL('v1/', document.baseURI);
const tokenKey = 'self-scaling.token';

// Problem is an answer that says no, or the lack of one (status 0). Its message
// is fit to be shown.
export class Problem extends Error {
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.errors = errors;
  }
}

let token = sessionStorage.getItem(tokenKey) ?? '';

export const hasToken = () => token !== '';

// setToken keeps a token for as long as the browser's tab is open.
export function setToken(t) {
  token = t.trim();
  if (token) sessionStorage.setItem(tokenKey, token);
  else sessionStorage.removeItem(tokenKey);
}

// link returns the address of a path of the API, for links that are followed.
export const link = path => new URL(path, root).href;

// query writes parameters, leaving out those without a value.
export function query(path, parameters) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(parameters)) {
    if (v !== undefined && v !== null && v !== '') q.set(k, v instanceof Date ? v.toISOString() : v);
  }
  return q.size ? `${path}?${q}` : path;
}

// segments writes path segments, each escaped.
export const segments = (...parts) => parts.map(encodeURIComponent).join('/');

const listeners = new Set();

// onAnswer calls f with every answer's headers, and with null where there was
// no answer. It returns what ends that.
export function onAnswer(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

function headers(more = {}) {
  const h = {Accept: 'application/json', ...more};
  if (token) h.Authorization = `Bearer ${token}`;
  return h;
}

async function send(path, init) {
  let answer;
  try {
    answer = await fetch(new URL(path, root), {credentials: 'same-origin', redirect: 'error', ...init});
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    listeners.forEach(f => f(null));
    throw new Problem(0, 'The API does not answer', 'The API does not answer. It is asked again every few seconds.');
  }
  listeners.forEach(f => f(answer));
  return answer;
}

async function problem(answer) {
  let title = `${answer.status} ${answer.statusText}`.trim();
  let detail = '';
  let errors = [];
  const text = await answer.text().catch(() => '');
  try {
    const body = JSON.parse(text);
    if (typeof body === 'string') detail = body;
    else ({title = title, detail = '', errors = []} = body);
  } catch {
    detail = text.length < 300 && !text.trimStart().startsWith('<') ? text.trim() : '';
  }
  const more = (errors ?? []).map(e => [e.location, e.message].filter(Boolean).join(': ')).filter(Boolean);
  return new Problem(answer.status, title, [detail, ...more].filter(Boolean).join('; '), errors ?? []);
}

// get returns what lies at a path, with its ETag. Given what an earlier call for
// the same path returned, it may return that again without it being sent.
export async function get(path, {signal, previous} = {}) {
  const known = previous?.path === path && previous.etag;
  const answer = await send(path, {signal, cache: 'no-store', headers: headers(known ? {'If-None-Match': previous.etag} : {})});
  if (answer.status === 304 && known) return previous;
  if (!answer.ok) throw await problem(answer);
  return {path, body: await answer.json(), etag: answer.headers.get('ETag') ?? ''};
}

// list reads the first pages of a list, each with limit entries, and says
// whether there are more. It takes what it returned before in the manner of
// get.
export async function list(path, {limit, pages, ...parameters}, {signal, previous} = {}) {
  const parts = [];
  let cursor;
  do {
    const part = await get(query(path, {...parameters, limit, cursor}), {signal, previous: previous?.parts[parts.length]});
    parts.push(part);
    cursor = part.body.next;
  } while (cursor && parts.length < pages);
  if (previous?.parts.length === parts.length && parts.every((p, i) => p === previous.parts[i])) return previous;
  return {parts, items: parts.flatMap(p => p.body.items), more: Boolean(cursor)};
}

// change sends a body, on the condition that what is there still has the ETag.
export async function change(method, path, body, {etag} = {}) {
  const more = {};
  if (body !== undefined) more['Content-Type'] = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  if (etag) more['If-Match'] = etag;
  const answer = await send(path, {method, headers: headers(more), body: body === undefined ? undefined : JSON.stringify(body)});
  if (!answer.ok) throw await problem(answer);
  const text = await answer.text();
  return {body: text ? JSON.parse(text) : null, etag: answer.headers.get('ETag') ?? '', location: answer.headers.get('Location') ?? ''};
}

// events reads a stream of server-sent events until signal aborts it, and takes
// it up again where it broke off. It is read by fetch, because EventSource
// cannot send a token. on is called with {event, data}; when it returns true
// the stream has ended.
export async function events(path, {signal, on}) {
  let last = '';
  let wait = 1000;
  while (!signal.aborted) {
    try {
      const answer = await send(path, {signal, headers: headers({Accept: 'text/event-stream', ...(last && {'Last-Event-ID': last})})});
      if (answer.status === 204) return;
      if (!answer.ok) throw await problem(answer);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = '';
      for (;;) {
        const {value, done} = await reader.read();
        if (done) break;
        buffer += value.replaceAll('\r\n', '\n').replaceAll('\r', '\n');
        let end;
        while ((end = buffer.indexOf('\n\n')) >= 0) {
          const message = parseEvent(buffer.slice(0, end));
          buffer = buffer.slice(end + 2);
          if (message.id !== undefined) last = message.id;
          if (message.retry) wait = message.retry;
          if (message.data !== undefined && on(message)) {
            reader.cancel();
            return;
          }
        }
      }
    } catch (e) {
      if (e.name === 'AbortError') return;
      if (e instanceof Problem && e.status >= 400 && e.status < 500) {
        if (e.status !== 410) throw e;
        last = ''; // what came in between is gone: begin anew
      }
    }
    await new Promise(resolve => {
      const timer = setTimeout(resolve, wait);
      signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, {once: true});
    });
  }
}

// parseEvent reads one message of a stream, as the HTML standard defines it.
export function parseEvent(block) {
  const message = {event: 'message'};
  for (const line of block.split('\n')) {
    if (line.startsWith(':')) continue;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') message.data = message.data === undefined ? value : `${message.data}\n${value}`;
    else if (field === 'retry') message.retry = Number(value) || undefined;
    else if (field === 'event' || field === 'id') message[field] = value;
  }
  return message;
}
