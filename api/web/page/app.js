// The page's frame: which view is shown, the header, and what is wrong with the
// server as a whole.

import {html, render, useEffect, useRef, useState} from './lib.js';
import * as client from './client.js';
import * as format from './format.js';
import * as model from './model.js';
import {setStatus, useNow, useQuery, useServer} from './data.js';
import * as settings from './settings.js';
import {Badge, Choice, Empty, Heading, Loading, Toasts} from './ui.js';
import {Components} from './views/components.js';
import {Component} from './views/component.js';
import {Decisions} from './views/decisions.js';
import {Run, Runs} from './views/runs.js';
import {Accuracy} from './views/accuracy.js';

const tabs = [['components', 'Components'], ['decisions', 'Decisions'], ['runs', 'Runs'], ['accuracy', 'Accuracy']];

function route() {
  const [view = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(s => {
    try {
      return decodeURIComponent(s);
    } catch {
      return s;
    }
  });
  if (view === '' || (view === 'components' && rest.length === 0)) return {tab: 'components', view: html`<${Components} />`};
  if (view === 'components' && rest.length === 3) return {tab: view, view: html`<${Component} key=${location.hash} id=${model.parse(rest)} />`};
  if (view === 'decisions' && rest.length === 0) return {tab: view, view: html`<${Decisions} />`};
  if (view === 'runs' && rest.length === 0) return {tab: view, view: html`<${Runs} />`};
  if (view === 'runs' && rest.length === 1) return {tab: view, view: html`<${Run} key=${rest[0]} id=${rest[0]} />`};
  if (view === 'accuracy' && rest.length === 0) return {tab: view, view: html`<${Accuracy} />`};
  return {tab: '', view: html`<${Heading}>Not found<//><${Empty} title="There is nothing at this address"><a href="#/components">Go to the components</a><//>`};
}

function App() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = () => {
      document.body.dataset.moved = 'yes';
      setHash(location.hash);
      scrollTo(0, 0);
    };
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  const status = useQuery('status', async signal => {
    const {body} = await client.get('status', {signal});
    setStatus(body);
    return body;
  });
  const {tab, view} = route(hash);
  const denied = status.error?.status === 401;
  return html`
    <a class="skip" href="#main" onClick=${e => { e.preventDefault(); document.querySelector('main').focus(); }}>Skip to the content</a>
    <${Header} tab=${tab} status=${status.data} />
    <${Banners} status=${status} />
    <main tabindex="-1" id="main">${denied ? html`<${SignIn} retry=${status.refresh} refused=${client.hasToken()} />`
      : status.loading ? html`<${Loading} rows=${8} />` : view}</main>
    <footer><span>self-scaling ${status.data?.version ?? ''}</span><a href=${client.link('api-export')}>API description</a></footer>
    <${Toasts} />`;
}

function Header({tab, status}) {
  return html`<header class="top">
    <a class="brand" href="#/components"><${Mark} /><span>self-scaling</span></a>
    <nav aria-label="Main">${tabs.map(([id, name]) => html`<a key=${id} href=${`#/${id}`} aria-current=${tab === id ? 'page' : undefined}>${name}</a>`)}</nav>
    <div class="status">
      ${status && !status.write && html`<${Badge} title="You may look, but not change anything">Read only<//>`}
      <${Freshness} status=${status} />
      <${Clock} status=${status} />
      <${Settings} />
    </div>
  </header>`;
}

const Mark = () => html`<svg class="mark" viewBox="0 0 32 32" width="24" height="24" aria-hidden="true"><rect width="32" height="32" rx="7" class="mark-ground" /><path d="M5 24h6v-5h6v-7h10" class="mark-steps" /><path d="M5 17c5 0 6-9 12-9" class="mark-curve" /></svg>`;

function Clock({status}) {
  const now = useNow(1000);
  const {zone} = settings.useSettings();
  if (!status) return null;
  return html`<span class="clock num" title=${status.speed > 1 ? `Simulated time, ${status.speed} times as fast` : 'The time on the server'}>
    ${format.clock(now, zone)} <span class="zone">${format.zoneName(zone)}</span>${status.speed > 1 && html` <span class="speed">×${status.speed}</span>`}</span>`;
}

// Freshness says how old the data is, and looks worried once it is too old.
function Freshness({status}) {
  const now = useNow(5000);
  const server = useServer();
  if (!server.reachable) return html`<${Badge} look="bad">Not connected<//>`;
  if (!status) return null;
  const ages = [
    {name: 'Data', at: status.freshness.samples, limit: 45 * 60e3},
    {name: 'Forecast', at: status.freshness.forecast, limit: 45 * 60e3},
    {name: 'Model', at: status.freshness.model, limit: 30 * 3600e3},
  ].map(a => ({...a, at: format.instant(a.at)})).map(a => ({...a, old: a.at !== null && now - a.at > a.limit}));
  const chief = ages.find(a => a.old) ?? ages[0]; // what a narrow screen shows
  return html`<span class="fresh">${ages.map(a => html`<span key=${a.name} class=${a === chief ? 'chief' : ''}>
    <${Badge} look=${a.at === null ? 'quiet' : a.old ? 'warn' : 'good'}>${a.name} ${a.at === null ? 'never' : format.ago(a.at, now)}<//></span>`)}</span>`;
}

function Settings() {
  const {theme, zone} = settings.useSettings();
  const menu = useRef();
  useEffect(() => {
    const outside = e => { if (!menu.current.contains(e.target)) menu.current.open = false; };
    const escape = e => {
      if (e.key !== 'Escape' || !menu.current.open) return;
      menu.current.open = false;
      menu.current.firstElementChild.focus();
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('keydown', escape);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('keydown', escape);
    };
  }, []);
  return html`<details class="menu" ref=${menu}><summary aria-label="Settings"><svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path class="stroke" d="M3 6h8M15 6h2M3 14h2M9 14h8" /><circle class="stroke" cx="13" cy="6" r="2" /><circle class="stroke" cx="7" cy="14" r="2" /></svg></summary>
    <div class="menu-body">
      <p class="menu-title">Colours</p>
      <${Choice} small label="Colours" value=${theme} onChoose=${v => settings.set({theme: v})} options=${[{value: 'system', label: 'System'}, {value: 'light', label: 'Light'}, {value: 'dark', label: 'Dark'}]} />
      <p class="menu-title">Times in</p>
      <${Choice} small label="Times in" value=${zone} onChoose=${v => settings.set({zone: v})} options=${[{value: 'local', label: `Local (${format.zoneName('local')})`}, {value: 'utc', label: 'UTC'}]} />
      ${client.hasToken() && html`<p><button type="button" onClick=${() => { client.setToken(''); location.reload(); }}>Forget the token</button></p>`}
    </div>
  </details>`;
}

function Banners({status}) {
  const server = useServer();
  const {zone} = settings.useSettings();
  if (!server.reachable) {
    return html`<div class="banner bad" role="alert"><b>The API does not answer.</b> What you see may be old. It is asked again every few seconds. Floors that are set hold until they expire; your HPAs go on by themselves.</div>`;
  }
  const store = status.data?.store;
  if (store && !store.ok) {
    return html`<div class="banner warn" role="alert"><b>The store cannot be read${store.since ? ` since ${format.clock(format.instant(store.since), zone)}` : ''}.</b> What you see was read before that. Floors that are set hold until they expire; your HPAs go on by themselves.${store.message ? html` <span class="detail-text">${store.message.split('\n', 1)[0]}</span>` : ''}</div>`;
  }
  return null;
}

function SignIn({retry, refused}) {
  const [text, setText] = useState('');
  const enter = e => {
    e.preventDefault();
    client.setToken(text);
    retry();
  };
  return html`<form class="card sign-in" onSubmit=${enter}>
    <h1>Sign in</h1>
    <p>This API wants a Kubernetes token. It is kept until this tab is closed and sent to this server only.</p>
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" value=${text} onInput=${e => setText(e.currentTarget.value)} />
    ${refused && html`<p class="bad-text" role="alert">The token was not accepted.</p>`}
    <p class="sub">For example: <code>kubectl create token NAME --duration 8h</code></p>
    <div class="dialog-actions"><button class="primary" type="submit" disabled=${text.trim() === ''}>Sign in</button></div>
  </form>`;
}

const place = document.getElementById('page');
place.replaceChildren();
render(html`<${App} />`, place);
