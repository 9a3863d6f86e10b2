// One component: its usage and forecast, its floor and replicas, and why the
// floor is what it is.

import {html, useMemo, useState} from '../lib.js';
import * as client from '../client.js';
import * as format from '../format.js';
import * as model from '../model.js';
import {Chart, Table, valueAt} from '../chart.js';
import {now as serverNow, useGet, useNow, useQuery} from '../data.js';
import {Explanation, ReasonBadge} from '../explain.js';
import {ModeSwitch} from '../modes.js';
import {useSettings} from '../settings.js';
import {Ago, Choice, Empty, Fact, Heading, Loaded} from '../ui.js';
import {DecisionTable} from './decisions.js';

const hour = 3600;
const ranges = [
  {value: 6, label: '6 h', ahead: 3},
  {value: 24, label: '1 day', ahead: 12},
  {value: 72, label: '3 days', ahead: 24},
  {value: 168, label: '7 days', ahead: 24},
];
const resources = [{value: 'cpu', label: 'CPU'}, {value: 'memory', label: 'Memory'}];

export function Component({id}) {
  const path = model.path(id);
  const [range, setRange] = useState(24);
  const query = useQuery(`component ${path}`, async signal => model.component((await client.get(`components/${path}`, {signal})).body));
  const limit = Math.min(500, Math.max(96, range * 4));
  const decisions = useQuery(`decisions ${path} ${limit}`, (signal, previous) => client.list('decisions', {...id, limit, pages: 1}, {signal, previous}), {hold: true});
  return html`
    <nav class="crumbs" aria-label="Breadcrumb"><a href="#/components">Components</a> <span aria-hidden="true">/</span> <span>${id.namespace ? `${id.namespace} / ` : ''}${id.service}</span></nav>
    <${Heading} name=${id.component} actions=${query.data && html`<${ModeSwitch} components=${[query.data]} name=${query.data.key} changed=${() => { query.refresh(); decisions.refresh(); }} />`}>${id.component}<//>
    <${Loaded} query=${query} what="The component" rows=${3}>${c => html`${c.hindrance && html`<p class="note warn">${c.hindrance}</p>`}<${Facts} c=${c} />`}<//>
    <${Charts} id=${id} c=${query.data} decisions=${decisions.data?.items} range=${range} setRange=${setRange} />
    <div class="columns">
      <section class="card" aria-labelledby="why">
        <h2 id="why">Why the floor is what it is</h2>
        <${Loaded} query=${decisions} what="The decisions" rows=${5}>${({items}) => items.length
          ? html`<${Explanation} decision=${items[0]} />`
          : html`<${Empty} title="No decision yet">The next run of the pipeline infer makes one.<//>`}<//>
      </section>
      <section class="card" aria-labelledby="earlier">
        <h2 id="earlier">Earlier decisions</h2>
        <${Loaded} query=${decisions} what="The decisions" rows=${5}>${({items}) => items.length > 1
          ? html`<${Earlier} items=${items.slice(1)} />`
          : html`<${Empty} title="None yet" />`}<//>
      </section>
    </div>`;
}

// few is how many earlier decisions are shown before the reader asks for all.
const few = 12;

function Earlier({items}) {
  const [all, setAll] = useState(false);
  return html`<${DecisionTable} items=${all ? items : items.slice(0, few)} />
    ${!all && items.length > few && html`<p class="more after"><button type="button" onClick=${() => setAll(true)}>Show ${items.length - few} more</button></p>`}`;
}

// wanted says which of a policy's shares are those of the component's own
// autoscaler; nothing where none is.
function wanted(p) {
  const names = Object.entries({CPU: p.cpuUtilizationFrom, memory: p.memoryUtilizationFrom, peak: p.peakUtilizationFrom})
    .filter(([, from]) => from?.includes('/')).map(([name]) => name);
  return names.length ? `${names.join(' and ')} as its autoscaler wants` : '';
}

function Facts({c}) {
  const p = c.policy;
  const d = c.decision;
  return html`<dl class="facts card">
    <${Fact} name="Replicas now"><b class="num">${c.currentReplicas ?? format.unknown}</b><//>
    <${Fact} name=${c.would ? 'Floor it would set' : 'Floor'}><b class="num">${d ? d.minReplicas : p.minReplicas}</b> ${d && html`<${ReasonBadge} code=${d.reason} />`}<//>
    <${Fact} name="Your bounds"><span class="num">${p.minReplicas}–${p.maxReplicas}</span><//>
    <${Fact} name="Target">${c.target?.name ? `${c.target.kind}/${c.target.name}` : format.unknown}<//>
    <${Fact} name="Autoscaler">${format.autoscaler(c.autoscaler) || 'none'}${c.owned && html` <span class="sub">made by self-scaling</span>`}<//>
    <${Fact} name="Target utilization" title="The share of a pod's request that should be in use, and that its peak may use">CPU ${format.percent(p.cpuUtilization)} · memory ${format.percent(p.memoryUtilization)} · peak ${format.percent(p.peakUtilization, 3)}${wanted(p) && html` <span class="sub">${wanted(p)}</span>`}<//>
    <${Fact} name="Quantile" title="The level of the forecast that the floor must serve">${format.percent(p.quantile, 3)}<//>
    <${Fact} name="Lead time" title="How long a pod needs from its creation to Ready">${format.span((format.seconds(p.leadTime) ?? NaN) * 1000)}<//>
    <${Fact} name="Measured until"><${Ago} at=${c.samplesUntil} /><//>
    <${Fact} name="Forecast from"><${Ago} at=${c.forecastAt} /><//>
  </dl>`;
}

function Charts({id, c, decisions, range, setRange}) {
  const path = model.path(id);
  const {zone} = useSettings();
  const [resource, setResource] = useState('cpu');
  const now = useNow(5000) / 1000;
  const ahead = ranges.find(r => r.value === range).ahead;
  const answer = useQuery(`history ${path} ${range}`, (signal, previous) =>
    client.get(client.query(`history/${path}`, {from: model.since(serverNow(), range)}), {signal, previous}), {hold: true});
  const history = {...answer, data: answer.data?.body};
  const forecast = useGet(client.query(`forecasts/${path}`, {resource}));
  const drawn = useMemo(() => draw({resource, history: history.data, forecast: forecast.data, decisions, c}), [resource, history.data, forecast.data, decisions, c]);
  const from = now - range * hour;
  const to = now + ahead * hour;
  const write = v => (resource === 'memory' ? format.bytes(v) : format.cores(v));
  const name = format.resourceName(resource);
  return html`<section class="card charts" aria-labelledby="usage">
    <div class="toolbar">
      <h2 id="usage">Usage and forecast</h2>
      <${Choice} label="Resource" options=${resources} value=${resource} onChoose=${setResource} small />
      <${Choice} label="Time shown" options=${ranges} value=${range} onChoose=${setRange} small />
    </div>
    <${Loaded} query=${history} what="The history" rows=${6}>${() => drawn.times.length === 0
      ? html`<${Empty} title="Nothing measured yet">The next run of the pipeline collect reads what this component uses.<//>`
      : html`
        ${forecast.error && forecast.error.status !== 0 && html`<p class="note">${forecast.error.status === 404 ? `There is no forecast of ${name} yet.` : `The forecast could not be read: ${forecast.error.message}`}</p>`}
        <h3 class="chart-title">${format.capital(name)} of all pods, in ${resource === 'memory' ? 'bytes' : 'cores'}</h3>
        <${Chart} label=${`${name} usage, measured and forecast. The table below has the same numbers.`} times=${drawn.times} lines=${drawn.usage}
          from=${from} to=${to} now=${now} height=${250} write=${write} sync=${path} />
        <h3 class="chart-title after">Replicas</h3>
        <${Chart} label="Replicas and floor. The table below has the same numbers." times=${drawn.times} lines=${drawn.replicas}
          from=${from} to=${to} now=${now} height=${150} write=${v => format.number(v)} sync=${path} whole />
        <${Table} caption=${`${name} usage, forecast, replicas and floor`}
          columns=${['Time', 'Mean', 'Peak', 'Forecast (median)', 'Forecast (10–90 %)', 'Replicas', 'Floor']}
          rows=${() => rows(drawn, from, to, write, zone)} />`}<//>
  </section>`;
}

// draw lays history, forecast and decisions over one line of instants.
function draw({resource, history, forecast, decisions, c}) {
  const past = model.history(history, resource);
  const future = {times: [], median: [], low: [], high: [], peak: []};
  if (forecast) {
    const step = forecast.stepSeconds;
    const origin = format.instant(forecast.origin) / 1000;
    future.times = forecast.values.map((_, i) => origin + i * step);
    future.median = model.quantile(forecast, forecast.values, 0.5);
    future.low = model.quantile(forecast, forecast.values, 0.1);
    future.high = model.quantile(forecast, forecast.values, 0.9);
    future.peak = model.quantile(forecast, forecast.peaks, c?.policy.quantile ?? 0.8);
  }
  const floors = (decisions ?? []).map(d => ({at: format.instant(d.time) / 1000, floor: d.minReplicas})).reverse();
  // The newest floor goes on until it expires.
  const expires = decisions?.length ? format.instant(decisions[0].expires) / 1000 : 0;
  if (expires > floors.at(-1)?.at) floors.push({at: expires, floor: floors.at(-1).floor});
  const start = past.times[0] ?? -Infinity;
  const times = [...new Set([...past.times, ...future.times, ...floors.map(f => f.at).filter(t => t >= start)])].sort((a, b) => a - b);
  const index = new Map(times.map((t, i) => [t, i]));
  const column = (at, values, gap = undefined) => {
    const out = new Array(times.length).fill(gap);
    at.forEach((t, i) => { if (index.has(t)) out[index.get(t)] = values[i]; });
    return out;
  };
  const low = column(future.times, future.low);
  const high = column(future.times, future.high);
  const write = v => (resource === 'memory' ? format.bytes(v) : format.cores(v));
  const usage = [
    {label: 'Peak', values: column(past.times, past.peak), colour: 'line-peak', width: 1},
    {label: 'Mean', values: column(past.times, past.mean), colour: 'line-usage', width: 2},
  ];
  if (forecast) {
    const at = usage.length;
    usage.push(
      {label: 'Low', values: low, colour: 'line-forecast', width: 0, hidden: true},
      {label: 'Forecast 10–90 %', values: high, colour: 'line-forecast', width: 0, below: at, tell: i => (low[i] == null ? format.unknown : `${write(low[i])} – ${write(high[i])}`)},
      {label: 'Median', values: column(future.times, future.median), colour: 'line-forecast', width: 2},
    );
    if (future.peak.length) usage.push({label: `Peak at ${format.percent(c?.policy.quantile ?? 0.8)}`, values: column(future.times, future.peak), colour: 'line-peak', width: 1.5, dash: [5, 4]});
  }
  const bound = n => times.map((_, i) => (i === 0 || i === times.length - 1 ? n : undefined));
  const replicas = [
    {label: 'Replicas', values: column(past.times, past.replicas), colour: 'line-replicas', width: 2, stepped: true},
    {label: c?.mode === 'Auto' ? 'Floor' : 'Floor (not written)', values: column(floors.map(f => f.at), floors.map(f => f.floor)), colour: 'line-floor', width: 2, stepped: true, dash: c && c.mode !== 'Auto' ? [5, 4] : undefined},
  ];
  if (c) {
    replicas.push({label: 'Your bounds', values: bound(c.policy.minReplicas), colour: 'line-bound', width: 1, dash: [2, 4], stepped: true, tell: () => `${c.policy.minReplicas}–${c.policy.maxReplicas}`});
    replicas.push({label: 'Your maxReplicas', values: bound(c.policy.maxReplicas), colour: 'line-bound', width: 1, dash: [2, 4], stepped: true, hidden: true});
  }
  return {times, usage, replicas, buckets: new Set([...past.times, ...future.times])};
}

// rows returns the same as a table, the newest bucket first.
function rows({times, usage, replicas, buckets}, from, to, write, zone) {
  const find = label => usage.find(l => l.label === label);
  const text = (line, i, w) => (line ? valueAt(line, i, w) : format.unknown);
  const out = [];
  for (let i = times.length - 1; i >= 0; i--) {
    if (times[i] < from || times[i] > to || !buckets.has(times[i])) continue;
    out.push([
      format.dayAndClock(new Date(times[i] * 1000), zone),
      text(find('Mean'), i, write), text(find('Peak'), i, write), text(find('Median'), i, write),
      find('Forecast 10–90 %')?.tell(i) ?? format.unknown,
      text(replicas[0], i, String), text(replicas[1], i, String),
    ]);
  }
  return out;
}
