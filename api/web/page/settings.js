// What the reader chose for this browser: colours and the zone that times are
// shown in. It is kept in the browser and never sent.

import {useEffect, useState} from './lib.js';

const key = 'self-scaling.settings';
const defaults = {theme: 'system', zone: 'local'};
const listeners = new Set();

let current = {...defaults};
try {
  current = {...defaults, ...JSON.parse(localStorage.getItem(key) ?? '{}')};
} catch {
  // A browser that keeps nothing still shows the page.
}
apply();

function apply() {
  const html = document.documentElement;
  if (current.theme === 'system') delete html.dataset.theme;
  else html.dataset.theme = current.theme;
}

export function set(change) {
  current = {...current, ...change};
  try {
    localStorage.setItem(key, JSON.stringify(current));
  } catch {
    // Kept for this visit only.
  }
  apply();
  listeners.forEach(f => f(current));
}

export function useSettings() {
  const [value, update] = useState(current);
  useEffect(() => {
    listeners.add(update);
    update(current);
    return () => listeners.delete(update);
  }, []);
  return value;
}

// useColours counts up whenever the colours change, by the setting or by the
// system, so that what is drawn on a canvas can be drawn again.
export function useColours() {
  const {theme} = useSettings();
  const [changes, count] = useState(0);
  useEffect(() => {
    const media = matchMedia('(prefers-color-scheme: dark)');
    const changed = () => count(n => n + 1);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);
  return `${theme} ${changes}`;
}
