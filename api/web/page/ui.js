// The small parts that every view is made of.

import {html, useEffect, useId, useLayoutEffect, useRef, useState} from './lib.js';
import * as format from './format.js';
import {useNow} from './data.js';
import {useSettings} from './settings.js';

// Badge is a word with a look: good, quiet, warn, bad or busy. The look has a
// shape as well as a colour.
export function Badge({look = 'quiet', title, children}) {
  return html`<span class=${`badge ${look}`} title=${title}>${children}</span>`;
}

// Time shows an instant, and both zones when pointed at.
export function Time({at, near}) {
  const {zone} = useSettings();
  const d = format.instant(at);
  if (!d) return html`<span class="unknown">${format.unknown}</span>`;
  return html`<time datetime=${d.toISOString()} title=${both(d)}>${near ? format.near(d, near, zone) : format.dayAndClock(d, zone)}</time>`;
}

// Ago shows how long ago an instant was, or how far ahead it is.
export function Ago({at}) {
  const now = useNow(5000);
  const d = format.instant(at);
  if (!d) return html`<span class="unknown">${format.unknown}</span>`;
  return html`<time datetime=${d.toISOString()} title=${both(d)}>${format.ago(d, now)}</time>`;
}

const both = d => `${format.dayAndClock(d, 'utc')} UTC · ${format.dayAndClock(d, 'local')} ${format.zoneName('local')}`;

// Loading holds the place of what is still to come.
export function Loading({rows = 4, label = 'Loading'}) {
  return html`<div class="loading" role="status" aria-label=${label}>
    ${Array.from({length: rows}, (_, i) => html`<div class="bone" key=${i} />`)}
  </div>`;
}

// Empty says that there is nothing, and what would make something be there.
export function Empty({title, children}) {
  return html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<p>${children}</p>`}</div>`;
}

// Failure says what went wrong in place of what should be here.
export function Failure({error, retry, what}) {
  const title = error.status === 403 ? 'You may not see this' : error.status === 404 ? 'Not found' : `${what} could not be read`;
  return html`<div class="failure" role="alert">
    <p class="empty-title">${title}</p>
    <p>${error.message}</p>
    ${retry && error.status !== 403 && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

// Outdated marks data that is still shown though newer data failed to come.
export function Outdated({error}) {
  if (!error || error.status === 0) return null; // a banner already says that the API is away
  return html`<p class="outdated" role="status">This could not be refreshed: ${error.message}</p>`;
}

// Loaded shows a query: bones, the failure, or what children make of the data.
export function Loaded({query, what, rows, children}) {
  if (query.data === undefined) {
    if (query.error) return html`<${Failure} error=${query.error} retry=${query.refresh} what=${what} />`;
    return html`<${Loading} rows=${rows} label=${`Loading ${what}`} />`;
  }
  return html`<${Outdated} error=${query.error} />${children(query.data)}`;
}

// Dialog asks for something and keeps the focus until it has an answer. Escape
// and the cancel button close it. Where what was asked has been overtaken (412),
// it can only be closed.
export function Dialog({title, confirm, busy, error, onConfirm, onCancel, children}) {
  const overtaken = error?.status === 412;
  const element = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close(); // which gives the focus back
  }, []);
  return html`<dialog ref=${element} class="dialog" aria-labelledby=${id} onCancel=${e => { e.preventDefault(); if (!busy) onCancel(); }}>
    <h2 id=${id}>${title}</h2>
    <div class="dialog-body">${children}</div>
    ${error && html`<p class="dialog-error" role="alert">${error.message}</p>`}
    <div class="dialog-actions">
      <button type="button" onClick=${onCancel} disabled=${busy}>${overtaken ? 'Close' : 'Cancel'}</button>
      ${!overtaken && html`<button type="button" class="primary" onClick=${onConfirm} disabled=${busy}>${busy ? 'Working…' : confirm}</button>`}
    </div>
  </dialog>`;
}

// Choice is a row of buttons of which one is pressed. The arrow keys move
// between them, and choosing takes Enter or Space, so that moving past a button
// does nothing.
export function Choice({label, options, value, onChoose, disabled, small, class: more = ''}) {
  const group = useRef();
  const [focused, focus] = useState(null);
  const at = focused ?? Math.max(0, options.findIndex(o => o.value === value));
  const move = e => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[e.key];
    if (!step) return;
    e.preventDefault();
    const next = (at + step + options.length) % options.length;
    focus(next);
    group.current.children[next].focus();
  };
  return html`<div class=${`choice ${small ? 'small' : ''} ${more}`} role="group" aria-label=${label} ref=${group} onKeyDown=${move}
      onFocusOut=${e => { if (!group.current?.contains(e.relatedTarget)) focus(null); }}>
    ${options.map((o, i) => html`<button type="button" key=${o.value} class=${o.class ?? ''} aria-pressed=${o.value === value ? 'true' : 'false'}
      aria-disabled=${disabled ? 'true' : undefined} title=${o.title} tabindex=${i === at ? 0 : -1}
      onClick=${() => { if (!disabled && o.value !== value) onChoose(o.value); }}>${o.label ?? o.value}</button>`)}
  </div>`;
}

// Progress is a bar with its numbers. Where the total is not known the bar only
// says that something goes on.
export function Progress({done, total, label}) {
  if (!total) return html`<progress aria-label=${label} />`;
  return html`<span class="progress"><progress aria-label=${label} value=${done} max=${total} /><span class="num">${done}/${total}</span></span>`;
}

// Fact is a name and a value in a list of facts.
export function Fact({name, children, title}) {
  return html`<div class="fact" title=${title}><dt>${name}</dt><dd>${children}</dd></div>`;
}

// Toasts says shortly what has just been done, to eyes and to screen readers.
const toastListeners = new Set();
let toasts = [];
let toastNumber = 0;

export function toast(text, look = 'good') {
  const one = {id: ++toastNumber, text, look};
  toasts = [...toasts.slice(-2), one];
  toastListeners.forEach(f => f(toasts));
  setTimeout(() => dismiss(one.id), look === 'bad' ? 12_000 : 6000);
}

function dismiss(id) {
  toasts = toasts.filter(t => t.id !== id);
  toastListeners.forEach(f => f(toasts));
}

export function Toasts() {
  const [list, update] = useState(toasts);
  useEffect(() => {
    toastListeners.add(update);
    return () => toastListeners.delete(update);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${list.map(t => html`<div key=${t.id} class=${`toast ${t.look}`}><span>${t.text}</span>
      <button type="button" class="bare" aria-label="Dismiss" onClick=${() => dismiss(t.id)}>×</button></div>`)}
  </div>`;
}

// Heading is a view's title. It takes the focus when the view opens, so that
// screen readers begin there, and names the browser's tab.
export function Heading({children, name, actions}) {
  const element = useRef();
  useEffect(() => {
    document.title = `${name ?? children} · self-scaling`;
  }, [name, children]);
  useEffect(() => {
    if (document.body.dataset.moved) element.current?.focus({preventScroll: true});
  }, []);
  return html`<div class="heading"><h1 tabindex="-1" ref=${element}>${children}</h1>${actions && html`<div class="actions">${actions}</div>`}</div>`;
}
