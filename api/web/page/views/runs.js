// Runs of the pipelines: starting them, how far they are, and what became of
// them.

import {html, useEffect, useState} from '../lib.js';
import * as client from '../client.js';
import * as format from '../format.js';
import * as words from '../words.js';
import {useNow, useQuery, useServer} from '../data.js';
import {Ago, Badge, Empty, Fact, Heading, Loaded, Progress, Time, toast} from '../ui.js';

const limit = 50;

// starts are the runs that are offered; words say what each is for.
const starts = [
  {pipeline: 'infer', label: 'Forecast and decide now', title: 'Forecasts from the newest samples, decides and applies the floors'},
  {pipeline: 'train', label: 'Train now', title: 'Learns from all samples anew and accepts the models that pass their backtest'},
];

export const address = id => `#/runs/${encodeURIComponent(id)}`;
const at = id => `runs/${client.segments(id)}`;
const isDone = run => !['Pending', 'Running'].includes(run.phase);

export function Runs() {
  const [pages, setPages] = useState(1);
  const [busy, setBusy] = useState(false); // something is under way, so that looking again soon pays
  const query = useQuery(`runs ${pages}`, (signal, previous) => client.list('runs', {limit, pages}, {signal, previous}), {every: busy ? 2000 : undefined});
  const running = query.data?.items.some(r => !isDone(r)) ?? false;
  useEffect(() => setBusy(running), [running]);
  return html`
    <${Heading} actions=${html`<${Starts} />`}>Runs<//>
    <${Loaded} query=${query} what="The runs" rows=${8}>${({items, more}) => items.length === 0
      ? html`<${Empty} title="No runs yet">Runs start by themselves on their schedules, or by the buttons above.<//>`
      : html`<div class="card flush"><table class="list runs">
          <thead><tr><th scope="col">Run</th><th scope="col">Phase</th><th scope="col">Progress</th><th scope="col" class="right">Took</th><th scope="col" class="right">Started</th><th scope="col"><span class="hidden">Links</span></th></tr></thead>
          <tbody>${items.map(r => html`<${Row} key=${r.id} run=${r} />`)}</tbody>
        </table></div>
        ${more && html`<p class="more"><button type="button" onClick=${() => setPages(pages + 1)}>Show more</button></p>`}`}
    <//>`;
}

function Starts() {
  const {write} = useServer();
  const [busy, setBusy] = useState('');
  const start = async pipeline => {
    setBusy(pipeline);
    try {
      const {body} = await client.change('POST', 'runs', {pipeline});
      location.hash = address(body.id);
    } catch (e) {
      toast(e.message, 'bad');
      setBusy('');
    }
  };
  return starts.map((s, i) => html`<button type="button" key=${s.pipeline} class=${i ? '' : 'primary'} title=${write ? s.title : 'You may look, but not change'}
    disabled=${!write || busy !== ''} onClick=${() => start(s.pipeline)}>${busy === s.pipeline ? 'Starting…' : s.label}</button>`);
}

function took(run, now) {
  const from = format.instant(run.started);
  const to = format.instant(run.finished) ?? (isDone(run) ? null : now);
  return from && to ? format.span(to - from) : format.unknown;
}

function Row({run}) {
  const now = useNow(isDone(run) ? 60_000 : 1000);
  return html`<tr>
    <th scope="row"><a href=${address(run.id)}>${run.pipeline}</a><span class="sub mono">${run.id}</span></th>
    <td data-label="Phase"><${Badge} look=${words.phaseLook[run.phase]} title=${run.message}>${run.phase}<//></td>
    <td data-label="Progress">${isDone(run) ? html`<span class="unknown num">${run.progress.done}/${run.progress.total}</span>` : html`<${Progress} ...${run.progress} label=${`Steps of ${run.id}`} />`}</td>
    <td data-label="Took" class="right num">${took(run, now)}</td>
    <td data-label="Started" class="right num"><${Ago} at=${run.started ?? run.submitted} /></td>
    <td class="right"><${Argo} run=${run} /></td>
  </tr>`;
}

function Argo({run}) {
  const url = run.workflow?.uiUrl;
  if (!url || !/^https?:/.test(url)) return null;
  return html`<a href=${url} target="_blank" rel="noopener noreferrer" class="outside">Argo<span class="hidden"> (opens in a new tab)</span></a>`;
}

export function Run({id}) {
  const query = useQuery(`run ${id}`, async signal => (await client.get(at(id), {signal})).body, {every: 0});
  const [live, setLive] = useState(null);
  const [broken, setBroken] = useState(null);
  const first = query.data;
  const following = Boolean(first) && !isDone(first);
  useEffect(() => {
    if (!following) return undefined;
    const abort = new AbortController();
    client.events(`${at(id)}/events`, {signal: abort.signal, on: ({event, data}) => {
      if (event !== 'run' && event !== 'message') return false;
      const run = JSON.parse(data);
      setLive(run);
      if (isDone(run)) query.refresh();
      return isDone(run);
    }}).catch(setBroken);
    return () => abort.abort();
  }, [id, following]);
  const run = live && live.id === id && !(first && isDone(first)) ? live : first;
  return html`
    <nav class="crumbs" aria-label="Breadcrumb"><a href="#/runs">Runs</a> <span aria-hidden="true">/</span> <span>${run?.pipeline ?? ''}</span></nav>
    <${Heading} name=${id} actions=${run && html`<${Actions} run=${run} refresh=${query.refresh} />`}><span class="mono">${id}</span><//>
    ${broken && html`<p class="note warn" role="status">Progress cannot be followed: ${broken.message} <button type="button" class="bare" onClick=${query.refresh}>Refresh</button></p>`}
    <${Loaded} query=${{...query, data: run}} what="The run" rows=${5}>${r => html`<${Detail} run=${r} />`}<//>`;
}

function Actions({run, refresh}) {
  const {write} = useServer();
  const [busy, setBusy] = useState(false);
  const act = async (f, said) => {
    setBusy(true);
    try {
      const {body} = await f();
      toast(said);
      if (body?.id && body.id !== run.id) location.hash = address(body.id);
      refresh();
    } catch (e) {
      toast(e.message, 'bad');
    }
    setBusy(false);
  };
  if (!write) return html`<${Argo} run=${run} />`;
  return html`<${Argo} run=${run} />
    ${!isDone(run) && html`<button type="button" disabled=${busy} onClick=${() => act(() => client.change('DELETE', at(run.id)), 'The run is being stopped.')}>Stop</button>`}
    ${(run.phase === 'Failed' || run.phase === 'Stopped') && html`<button type="button" disabled=${busy} onClick=${() => act(() => client.change('POST', `${at(run.id)}/retry`), 'The run is tried again.')}>Try again</button>`}`;
}

function Detail({run}) {
  const now = useNow(1000);
  return html`
    <dl class="facts card">
      <${Fact} name="Phase"><${Badge} look=${words.phaseLook[run.phase]}>${run.phase}<//><//>
      <${Fact} name="Pipeline">${run.pipeline}<//>
      <${Fact} name="Progress"><${Progress} ...${run.progress} label="Steps done" /><//>
      <${Fact} name="Submitted"><${Time} at=${run.submitted} /><//>
      <${Fact} name="Took"><span class="num">${took(run, now)}</span><//>
      ${Object.entries(run.parameters ?? {}).map(([k, v]) => html`<${Fact} key=${k} name=${`Parameter ${k}`}>${v}<//>`)}
    </dl>
    ${run.message && html`<p class=${`note ${run.phase === 'Failed' ? 'bad' : ''}`}>${run.message}</p>`}
    <div class="card flush"><table class="list steps">
      <thead><tr><th scope="col">Step</th><th scope="col">Phase</th><th scope="col">Progress</th><th scope="col" class="right">Attempts</th><th scope="col" class="right">Took</th></tr></thead>
      <tbody>${(run.steps ?? []).map(s => html`<tr key=${`${s.step} ${s.shard ?? ''}`}>
        <th scope="row">${s.step}${s.shard && html`<span class="sub mono">${s.shard}</span>`}${s.message && html`<span class=${`sub ${s.phase === 'Failed' ? 'bad-text' : ''}`}>${s.message}</span>`}</th>
        <td data-label="Phase"><${Badge} look=${words.phaseLook[s.phase]}>${s.phase}<//></td>
        <td data-label="Progress">${s.phase === 'Running' ? html`<${Progress} ...${s.progress} label=${`Progress of ${s.step} ${s.shard ?? ''}`} />` : s.progress?.total ? html`<span class="num unknown">${s.progress.done}/${s.progress.total}</span>` : ''}</td>
        <td data-label="Attempts" class="right num">${s.attempts || format.unknown}</td>
        <td data-label="Took" class="right num">${took(s, now)}</td>
      </tr>`)}</tbody>
    </table></div>`;
}
