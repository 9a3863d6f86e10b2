// All components, by service: their modes, replicas and newest decisions.

import {html, useEffect, useMemo, useRef, useState} from '../lib.js';
import * as client from '../client.js';
import * as format from '../format.js';
import * as model from '../model.js';
import * as words from '../words.js';
import {Spark} from '../chart.js';
import {now, pace, useQuery} from '../data.js';
import {ReasonBadge} from '../explain.js';
import {ModeSwitch} from '../modes.js';
import {Ago, Badge, Choice, Empty, Heading, Loaded} from '../ui.js';

// limit is how many components a page of the list has. More are read when the
// reader asks for them.
const limit = 500;

const filters = [
  {value: 'all', label: 'All'},
  {value: 'Auto', label: 'Auto'},
  {value: 'Shadow', label: 'Shadow'},
  {value: 'Off', label: 'Off'},
  {value: 'attention', label: 'Attention', title: 'Whose newest decision could not be made as it should'},
];

const needsAttention = c => c.mode !== 'Off' && (c.hindrance !== '' || (c.decision !== null && ['warn', 'bad'].includes(words.reason(c.decision.reason).look)));

export function Components() {
  const [pages, setPages] = useState(1);
  const [text, setText] = useState('');
  const [filter, setFilter] = useState('all');
  const query = useQuery(`components ${pages}`, (signal, previous) => client.list('components', {limit, pages}, {signal, previous}), {every: pages > 1 ? 60_000 : undefined});
  const raw = query.data?.items;
  const items = useMemo(() => raw?.map(model.component), [raw]);
  return html`
    <${Heading}>Components<//>
    <${Loaded} query=${query} what="The components" rows=${8}>${({more}) => items.length === 0
      ? html`<${Empty} title="No components yet">A component appears once a workload carries the labels that the installation looks for.
          It starts in Shadow: it is forecast and decided for, and nothing is written.<//>`
      : html`
        <${Summary} items=${items} more=${more} />
        <div class="toolbar">
          <input type="search" placeholder="Search by name" aria-label="Search components" value=${text} onInput=${e => setText(e.currentTarget.value)} />
          <${Choice} label="Show" options=${filters} value=${filter} onChoose=${setFilter} small />
        </div>
        <${List} items=${items} text=${text} filter=${filter} changed=${query.refresh} />
        ${more && html`<p class="more"><button type="button" onClick=${() => setPages(pages + 1)}>Show more</button></p>`}`}
    <//>`;
}

function Summary({items, more}) {
  const by = mode => items.filter(c => c.mode === mode).length;
  const raised = items.filter(c => c.raised).length;
  const attention = items.filter(needsAttention).length;
  return html`<dl class="tiles">
    <div><dt>Components</dt><dd><b class="num">${items.length}${more ? '+' : ''}</b><span>${by('Auto')} Auto · ${by('Shadow')} Shadow · ${by('Off')} Off</span></dd></div>
    <div><dt>Floors raised</dt><dd><b class="num">${raised}</b><span>above your own minReplicas now</span></dd></div>
    <div class=${attention ? 'warn' : ''}><dt>Needs attention</dt><dd><b class="num">${attention}</b><span>${attention ? 'no forecast could be acted on' : 'every decision could be made'}</span></dd></div>
  </dl>`;
}

function List({items, text, filter, changed}) {
  useEffect(() => { performance.mark('usable'); }, []);
  const services = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const groups = new Map();
    for (const c of items) {
      if (wanted && !c.key.toLowerCase().includes(wanted)) continue;
      if (filter === 'attention' ? !needsAttention(c) : filter !== 'all' && c.mode !== filter) continue;
      const name = c.id.namespace ? `${c.id.namespace}/${c.id.service}` : c.id.service;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(c);
    }
    return [...groups];
  }, [items, text, filter]);
  if (services.length === 0) return html`<${Empty} title="Nothing matches">Change the search or what is shown.<//>`;
  return html`<div class="card flush"><table class="list components">
    <thead><tr>
      <th scope="col">Component</th><th scope="col">Mode</th>
      <th scope="col">CPU, last day + 6 h</th><th scope="col">Replicas</th><th scope="col">Newest decision</th><th scope="col" class="right">Decided</th>
    </tr></thead>
    ${services.map(([name, members]) => html`<tbody key=${name}>
      <tr class="group">
        <th scope="rowgroup" colspan="1"><span class="service">${members[0].id.service}</span>${members[0].id.namespace && html`<span class="namespace">${members[0].id.namespace}</span>`}</th>
        <td>${members.length > 1 && html`<${ModeSwitch} components=${members} service=${members[0].id} name=${`service ${name}`} changed=${changed} small />`}</td>
        <td colspan="4" />
      </tr>
      ${members.map(c => html`<${Row} key=${c.key} c=${c} changed=${changed} />`)}
    </tbody>`)}
  </table></div>`;
}

function Row({c, changed}) {
  const d = c.decision;
  return html`<tr>
    <th scope="row"><a href=${model.hash(c.id)}>${c.id.component}</a>${c.target?.name && html`<span class="sub">${c.target.kind}/${c.target.name}</span>`}</th>
    <td data-label="Mode" class="wide"><${ModeSwitch} components=${[c]} name=${c.key} changed=${changed} small /></td>
    <td data-label="CPU"><${Usage} c=${c} /></td>
    <td data-label="Replicas"><${Replicas} c=${c} /></td>
    <td data-label="Decision">${d ? html`<${ReasonBadge} code=${d.reason} />` : html`<span class="unknown">none yet</span>`}
      ${c.hindrance && html` <${Badge} look="warn" title=${c.hindrance}>left alone<//>`}</td>
    <td data-label="Decided" class="right num">${d ? html`<${Ago} at=${d.time} />` : format.unknown}</td>
  </tr>`;
}

// Usage is a component's CPU over the last day and what is forecast of it for the
// next hours. It is fetched once the row is seen.
function Usage({c}) {
  const place = useRef();
  const [seen, see] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver(entries => { if (entries.some(e => e.isIntersecting)) see(true); }, {rootMargin: '100px'});
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  const path = model.path(c.id);
  const query = useQuery(seen ? `spark ${path}` : null, async (signal, previous) => {
    const at = now();
    const [past, future] = await Promise.all([
      client.get(client.query(`history/${path}`, {from: model.since(at, 24)}), {signal, previous: previous?.past}),
      c.forecastAt ? client.get(client.query(`forecasts/${path}`, {resource: 'cpu'}), {signal, previous: previous?.future}) : null,
    ]);
    return {past, future, drawn: spark(past.body, future?.body, at / 1000)};
  }, {every: 6 * pace()});
  return html`<div ref=${place} class="spark-place">${query.data && html`<${Spark} ...${query.data.drawn} />`}</div>`;
}

const ahead = 6 * 3600;

function spark(history, forecast, at) {
  const past = model.history(history, 'cpu');
  const median = forecast ? model.quantile(forecast, forecast.values, 0.5) : [];
  const origin = forecast ? format.instant(forecast.origin) / 1000 : 0;
  const later = median.map((_, i) => origin + i * forecast.stepSeconds).filter(t => t <= at + ahead);
  const times = [...new Set([...past.times, ...later])].sort((a, b) => a - b);
  const index = new Map(times.map((t, i) => [t, i]));
  const column = (at, values) => {
    const out = new Array(times.length).fill(undefined);
    at.forEach((t, i) => { out[index.get(t)] = values[i]; });
    return out;
  };
  return {
    times, from: at - 24 * 3600, to: at + ahead, now: at,
    lines: [{colour: 'line-usage', values: column(past.times, past.mean)}, {colour: 'line-forecast', values: column(later, median)}],
  };
}

// Replicas shows how many run, where the floor lies, and the operator's bounds.
export function Replicas({c}) {
  const d = c.decision;
  const {minReplicas: min, maxReplicas: max} = c.policy;
  const floor = d ? d.minReplicas : min;
  const share = n => `${max > min ? Math.max(0, Math.min(100, (100 * (n - min)) / (max - min))) : 0}%`;
  const current = c.currentReplicas;
  return html`<span class="replicas">
    <b class="num">${current ?? format.unknown}</b>
    <span class="scale" aria-hidden="true">
      <span class=${`scale-floor ${c.would ? 'would' : ''}`} style=${{width: share(floor)}} />
      ${current != null && html`<span class="scale-now" style=${{left: share(current)}} />`}
    </span>
    <span class="sub num">${c.would ? `would be ≥ ${floor}` : `floor ${floor}`} · ${min}–${max}</span>
  </span>`;
}
