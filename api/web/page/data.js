// What the page knows of the server: its clock, how fresh its data is, what the
// reader may do; and a hook that fetches something and keeps it fresh.

import {useCallback, useEffect, useRef, useState} from './lib.js';
import * as client from './client.js';
import {instant} from './format.js';

// The server's clock. It is not the browser's: a browser may be wrong, and a
// demonstration runs faster than time. Between two answers it goes on at the
// speed that the server says.
const server = {at: null, seen: 0, speed: 1, reachable: true, write: false};
const listeners = new Set();
const changed = () => listeners.forEach(f => f());

client.onAnswer(answer => {
  const reachable = answer !== null;
  if (reachable !== server.reachable) {
    server.reachable = reachable;
    changed();
  }
});

// now is the server's time as far as it is known, else the browser's.
export function now() {
  if (!server.at) return new Date();
  return new Date(server.at.getTime() + (performance.now() - server.seen) * server.speed);
}

// setStatus takes the server's word for what time it is and what the reader may
// do.
export function setStatus(status) {
  const before = server.at && now();
  server.at = instant(status.now);
  server.seen = performance.now();
  server.speed = status.speed || 1;
  const jumped = !before || Math.abs(server.at - before) > 2000 * server.speed;
  if (jumped || server.write !== status.write) {
    server.write = status.write;
    changed();
  }
}

// pace is how often live data is asked for, in milliseconds: often enough that
// accelerated time moves before the eye.
export const pace = () => (server.speed > 1 ? 2000 : 10_000);

// soon is how long a question that nobody answered waits to be asked again, in
// milliseconds.
const soon = 2000;

// useNow returns the server's time, anew every period milliseconds; more often
// where it runs faster.
export function useNow(period = 1000) {
  const [value, update] = useState(now);
  const every = server.speed > 1 ? Math.min(period, 1000) : period;
  useEffect(() => {
    const tick = () => update(now());
    const timer = setInterval(tick, every);
    listeners.add(tick);
    return () => {
      clearInterval(timer);
      listeners.delete(tick);
    };
  }, [every]);
  return value;
}

// useServer returns whether the API answers (reachable) and whether the reader
// may change anything (write).
export function useServer() {
  const [, update] = useState(0);
  useEffect(() => {
    const f = () => update(n => n + 1);
    listeners.add(f);
    return () => listeners.delete(f);
  }, []);
  return server;
}

// What was fetched last, so that going back shows something at once.
const kept = new Map();
const keep = 60;

// useQuery fetches with load(signal, previous) now and every so often while the
// page is seen, and again when key changes. It returns {data, error, loading,
// refresh}: data stays while newer data is on its way or fails to come, and with
// hold also while what another key names is on its way. A null key fetches
// nothing.
export function useQuery(key, load, {every, hold} = {}) {
  const [state, update] = useState(() => ({key, data: kept.get(key), error: null}));
  const latest = useRef(load);
  latest.current = load;
  const again = useRef(() => {});

  useEffect(() => {
    if (key === null) return undefined;
    let stopped = false;
    let timer;
    let abort = new AbortController();
    let data = kept.get(key);
    update(before => ({key, data: data ?? (hold ? before.data : undefined), error: null}));
    const fetchOnce = async () => {
      clearTimeout(timer);
      abort.abort();
      let wait = every ?? pace();
      const mine = abort = new AbortController();
      try {
        data = await latest.current(mine.signal, data);
        if (stopped || mine.signal.aborted) return;
        kept.delete(key);
        kept.set(key, data);
        if (kept.size > keep) kept.delete(kept.keys().next().value);
        update({key, data, error: null});
      } catch (error) {
        if (stopped || mine.signal.aborted) return;
        update(before => ({key, data: data ?? (hold ? before.data : undefined), error}));
        if (error.status === 0) wait = Math.min(wait, soon);
      }
      schedule(wait);
    };
    const schedule = wait => {
      clearTimeout(timer);
      if (!stopped && every !== 0) timer = setTimeout(() => (document.hidden ? schedule(wait) : fetchOnce()), wait);
    };
    const seen = () => { if (!document.hidden && every !== 0) fetchOnce(); };
    document.addEventListener('visibilitychange', seen);
    again.current = fetchOnce;
    fetchOnce();
    return () => {
      stopped = true;
      clearTimeout(timer);
      abort.abort();
      document.removeEventListener('visibilitychange', seen);
    };
  }, [key, every]);

  const refresh = useCallback(() => again.current(), []);
  const mine = state.key === key ? state : {data: kept.get(key) ?? (hold ? state.data : undefined), error: null};
  return {data: mine.data, error: mine.error, loading: mine.data === undefined && !mine.error, refresh};
}

// useGet is useQuery for one path of the API. Its data is the answer's body.
export function useGet(path, options) {
  const q = useQuery(path, (signal, previous) => client.get(path, {signal, previous}), options);
  return {...q, data: q.data?.body};
}
