// How far off the forecasts were, against simply repeating the day before, and
// the models that make them.

import {html, useMemo} from '../lib.js';
import * as client from '../client.js';
import * as format from '../format.js';
import * as model from '../model.js';
import {Chart, Table} from '../chart.js';
import {useGet, useQuery} from '../data.js';
import {useSettings} from '../settings.js';
import {Badge, Empty, Fact, Heading, Loaded, Time} from '../ui.js';

const bases = {
  backtest: 'Before each training is accepted, its forecasters are tried on the newest day, which none of them has seen.',
  realised: 'Each forecast is kept, and held against what then really happened.',
};

// pages is how many pages of components are read.
const pages = 4;

export function Accuracy() {
  const query = useQuery('accuracy', async signal => {
    let {body} = await client.get(client.query('accuracy', {limit: 500}), {signal});
    const data = body;
    for (let i = 1; i < pages && body.next; i++) {
      body = (await client.get(client.query('accuracy', {limit: 500, cursor: body.next}), {signal})).body;
      data.components.push(...body.components);
    }
    return data;
  });
  const models = useGet('models');
  return html`
    <${Heading}>Accuracy<//>
    <p class="lead">${bases[query.data?.basis] ?? ''} The yardstick is seasonal naive: repeating what was a day ago. Below 1 the forecasts were closer.</p>
    <${Loaded} query=${query} what="The accuracy" rows=${6}>${data => data.points.length === 0
      ? html`<div class="card"><${Empty} title="Nothing to compare yet">A forecast can be judged once what it forecast has happened.<//></div>`
      : html`<${Summary} data=${data} /><${Over} data=${data} />`}<//>
    <${Loaded} query=${models} what="The models" rows=${3}>${data => html`<${Models} data=${data} />`}<//>
    ${query.data?.components.length > 0 && html`<${PerComponent} items=${query.data.components} />`}`;
}

// ratio is a series' error in units of seasonal naive's; null where that made
// none, because nothing can be said then.
const ratio = i => (i.naive > 0 ? i.mae / i.naive : null);

function Summary({data}) {
  const newest = data.points.at(-1);
  const judged = data.components.filter(i => ratio(i) !== null);
  const closer = judged.filter(i => i.mae < i.naive).length;
  const better = 1 - newest.ratio;
  return html`<dl class="tiles">
    <div><dt>Newest</dt><dd><b class="num">${format.number(newest.ratio, 2)}</b><span>of seasonal naive's error: ${better >= 0 ? `${format.percent(better)} closer` : `${format.percent(-better)} further off`}</span></dd></div>
    <div><dt>Closer than seasonal naive</dt><dd><b class="num">${closer}</b><span>of ${format.count(judged.length, 'series', 'series')}</span></dd></div>
    <div><dt>Judged</dt><dd><b class="num">${newest.series}</b><span>series, ${data.basis === 'realised' ? format.day(format.instant(newest.time), 'utc') : html`<${Time} at=${newest.time} />`}</span></dd></div>
  </dl>`;
}

function Over({data}) {
  const {zone} = useSettings();
  const {times, lines} = useMemo(() => {
    const at = data.points.map(p => format.instant(p.time) / 1000);
    const around = Math.max(43_200, (at.at(-1) - at[0]) / 40); // so that no point lies on the edge
    const all = [at[0] - around, ...at, at.at(-1) + around];
    return {times: all, lines: [
      {label: 'Seasonal naive', values: all.map(() => 1), colour: 'line-bound', width: 1.5, dash: [5, 4]},
      {label: 'Forecasts', values: [undefined, ...data.points.map(p => p.ratio ?? null), undefined], colour: 'line-forecast', width: 2, points: at.length < 60},
    ]};
  }, [data]);
  // What was realised is told by whole days, which are those of UTC.
  const when = p => (data.basis === 'realised' ? format.day(format.instant(p.time), 'utc') : format.dayAndClock(format.instant(p.time), zone));
  const rows = () => data.points.map(p => [when(p), format.number(p.ratio, 3), String(p.series)]).reverse();
  return html`<section class="card charts" aria-labelledby="over">
    <h2 id="over">Error relative to seasonal naive</h2>
    <${Chart} label="Error of the forecasts relative to seasonal naive, over time. The table below has the same numbers." times=${times} lines=${lines}
      from=${times[0]} to=${times.at(-1)} height=${220} write=${v => format.number(v, 2)} />
    <${Table} caption="Error relative to seasonal naive" columns=${['Time', 'Relative error', 'Series']} rows=${rows} />
  </section>`;
}

// rolledBack says that somebody went back to earlier models, and what that means.
const rolledBack = data => [
  data.rolledBackFrom && `The models of ${data.rolledBackFrom} were taken out of service${data.reason ? `: ${data.reason}` : ''}.`,
  data.hold && 'New trainings do not replace these models until somebody lets them.',
].filter(Boolean).join(' ');

function Models({data}) {
  if (data.items.length === 0) return html`<div class="card"><${Empty} title="No model yet">Until the first training the simple forecasters do the work.<//></div>`;
  return html`<section class="card" aria-labelledby="models">
    <h2 id="models">Models in use</h2>
    ${(data.rolledBackFrom || data.hold) && html`<p class="note warn">${rolledBack(data)}</p>`}
    <dl class="facts">
      <${Fact} name="Training"><span class="num">${data.number}</span>${data.accepted && html` by <a href=${`#/runs/${encodeURIComponent(data.accepted)}`}>${data.accepted}</a>`}<//>
      <${Fact} name="Learned from data until"><${Time} at=${data.until} /><//>
      <${Fact} name="Shards"><span class="num">${data.items.length}</span><//>
      <${Fact} name="With a network"><span class="num">${data.items.filter(m => m.weightsSum).length}</span><//>
    </dl>
    <details class="as-table"><summary>Show each shard</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="Models by shard"><table>
        <thead><tr><th scope="col">Shard</th><th scope="col">Network</th><th scope="col">Verdict</th><th scope="col" class="right">Series</th></tr></thead>
        <tbody>${data.items.map(m => html`<tr key=${m.shard}><th scope="row" class="mono">${m.shard}</th><td>${m.weightsSum ? html`<${Badge} look="good">accepted<//>` : html`<${Badge}>none<//>`}</td><td class="wrap">${m.verdict}</td><td class="right num">${m.series}</td></tr>`)}</tbody>
      </table></div>
    </details>
  </section>`;
}

function PerComponent({items}) {
  const sorted = useMemo(() => [...items].sort((a, b) => (ratio(b) ?? -1) - (ratio(a) ?? -1)), [items]);
  return html`<section class="card flush" aria-labelledby="each"><h2 id="each" class="table-title">Each component, the furthest off first</h2><table class="list accuracy">
    <thead><tr><th scope="col">Component</th><th scope="col">Resource</th><th scope="col">Forecast by</th><th scope="col" class="right">Mean error</th><th scope="col" class="right">Seasonal naive's</th><th scope="col" class="right">Relative</th><th scope="col">Verdict</th></tr></thead>
    <tbody>${sorted.map(i => {
      const r = ratio(i);
      return html`<tr key=${`${format.componentName(i.component)} ${i.resource}`}>
        <th scope="row"><a href=${model.hash(i.component)}>${i.component.component}</a><span class="sub">${i.component.namespace ? `${i.component.namespace} / ` : ''}${i.component.service}</span></th>
        <td data-label="Resource">${format.capital(format.resourceName(i.resource))}</td>
        <td data-label="Forecast by">${i.forecaster}</td>
        <td data-label="Mean error" class="right num">${format.quantity(i.resource, i.mae)}</td>
        <td data-label="Seasonal naive's" class="right num">${format.quantity(i.resource, i.naive)}</td>
        <td data-label="Relative" class="right num">${format.number(r, 3)}</td>
        <td data-label="Verdict">${r === null ? html`<${Badge}>cannot tell<//>` : html`<${Badge} look=${r < 1 ? 'good' : r > 1 ? 'warn' : 'quiet'}>${r < 1 ? 'closer' : r > 1 ? 'further off' : 'the same'}<//>`}</td>
      </tr>`;
    })}</tbody>
  </table></section>`;
}
