// How far off the forecasts were, against simply repeating yesterday.

import {html, useMemo} from '../lib.js';
import * as format from '../format.js';
import * as model from '../model.js';
import {Chart, Table} from '../chart.js';
import {useGet} from '../data.js';
import {useSettings} from '../settings.js';
import {Badge, Empty, Heading, Loaded} from '../ui.js';

export function Accuracy() {
  const {zone} = useSettings();
  const query = useGet('accuracy');
  return html`
    <${Heading}>Accuracy<//>
    <p class="lead">Each forecast is kept and held against what then really happened. The yardstick is seasonal naive: repeating yesterday. Below 1, the forecasts were closer.</p>
    <${Loaded} query=${query} what="The accuracy" rows=${6}>${data => data.points.length === 0
      ? html`<${Empty} title="Nothing to compare yet">A forecast can be judged once what it forecast has happened.<//>`
      : html`<${Over} data=${data} zone=${zone} /><${PerComponent} items=${data.components} />`}<//>`;
}

function Over({data, zone}) {
  const {times, lines} = useMemo(() => {
    const times = data.points.map(p => format.instant(p.time) / 1000);
    return {times, lines: [
      {label: 'Seasonal naive', values: times.map(() => 1), colour: 'line-bound', width: 1.5, dash: [5, 4]},
      {label: 'Forecasts', values: data.points.map(p => p.ratio ?? null), colour: 'line-forecast', width: 2, points: times.length < 40},
    ]};
  }, [data]);
  return html`<section class="card charts" aria-labelledby="over">
    <h2 id="over">Error relative to seasonal naive</h2>
    <${Chart} label="Error of the forecasts relative to seasonal naive, over time" times=${times} lines=${lines} from=${times[0]} to=${times.at(-1)} height=${220} write=${v => format.number(v, 2)} />
    <${Table} caption="Error relative to seasonal naive" columns=${['Time', 'Relative error']} rows=${() => data.points.map(p => [format.dayAndClock(format.instant(p.time), zone), format.number(p.ratio, 3)])} />
  </section>`;
}

function PerComponent({items}) {
  return html`<section class="card flush"><table class="list accuracy">
    <thead><tr><th scope="col">Component</th><th scope="col">Resource</th><th scope="col" class="right">Error</th><th scope="col" class="right">Seasonal naive</th><th scope="col" class="right">Relative</th><th scope="col">Verdict</th></tr></thead>
    <tbody>${items.map(i => html`<tr key=${`${format.componentName(i.component)} ${i.resource}`}>
      <th scope="row"><a href=${model.hash(i.component)}>${i.component.component}</a><span class="sub">${i.component.service}</span></th>
      <td data-label="Resource">${format.capital(format.resourceName(i.resource))}</td>
      <td data-label="Error" class="right num">${format.quantity(i.resource, i.mae)}</td>
      <td data-label="Seasonal naive" class="right num">${format.quantity(i.resource, i.naive)}</td>
      <td data-label="Relative" class="right num">${format.number(i.mae / i.naive, 2)}</td>
      <td data-label="Verdict"><${Badge} look=${i.mae < i.naive ? 'good' : 'warn'}>${i.mae < i.naive ? 'closer' : 'further off'}<//></td>
    </tr>`)}</tbody>
  </table></section>`;
}
