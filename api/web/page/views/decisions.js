// The newest decisions of all components, with their reasons.

import {html, Fragment, useState} from '../lib.js';
import * as client from '../client.js';
import * as format from '../format.js';
import * as model from '../model.js';
import * as words from '../words.js';
import {useQuery, useNow} from '../data.js';
import {Explanation, ReasonBadge} from '../explain.js';
import {Badge, Empty, Heading, Loaded, Time} from '../ui.js';

const limit = 100;

export function Decisions() {
  const [pages, setPages] = useState(1);
  const [code, setCode] = useState('');
  const query = useQuery(`decisions ${code} ${pages}`, (signal, previous) => client.list('decisions', {reason: code, limit, pages}, {signal, previous}));
  return html`
    <${Heading}>Decisions<//>
    <div class="toolbar"><label>Reason <select value=${code} onChange=${e => { setCode(e.currentTarget.value); setPages(1); }}>
      <option value="">All</option>${words.reasonCodes.map(c => html`<option key=${c} value=${c}>${words.reason(c).title}</option>`)}
    </select></label></div>
    <${Loaded} query=${query} what="The decisions" rows=${8}>${({items, more}) => items.length === 0
      ? html`<${Empty} title="No decisions">Each run of the pipeline infer makes one for every component that is not Off.<//>`
      : html`<div class="card flush"><${DecisionTable} items=${items} named /></div>
        ${more && html`<p class="more"><button type="button" onClick=${() => setPages(pages + 1)}>Show more</button></p>`}`}
    <//>`;
}

const key = d => `${d.time} ${format.componentName(d.component)}`;

// DecisionTable lists decisions, each of which opens to its explanation.
export function DecisionTable({items, named}) {
  const now = useNow(30_000);
  const [open, setOpen] = useState(null);
  const columns = named ? 6 : 5;
  return html`<table class="list decisions">
    <thead><tr>
      <th scope="col">Time</th>${named && html`<th scope="col">Component</th>`}
      <th scope="col">Reason</th><th scope="col" class="right">Floor</th><th scope="col">Written</th><th scope="col"><span class="hidden">Why</span></th>
    </tr></thead>
    <tbody>${items.map(d => {
      const k = key(d);
      const shown = open === k;
      return html`<${Fragment} key=${k}>
        <tr class=${shown ? 'opened' : ''}>
          <td class="num" data-label="Time"><${Time} at=${d.time} near=${now} /></td>
          ${named && html`<th scope="row"><a href=${model.hash(d.component)}>${d.component.component}</a><span class="sub">${d.component.namespace ? `${d.component.namespace} / ` : ''}${d.component.service}</span></th>`}
          <td data-label="Reason"><${ReasonBadge} code=${d.reason} /></td>
          <td class="right num" data-label="Floor">${words.floorChange(d)}</td>
          <td data-label="Written">${d.applied ? html`<${Badge} look="good">yes<//>` : html`<span class="unknown">no</span>`}</td>
          <td class="right"><button type="button" class="bare" aria-expanded=${shown ? 'true' : 'false'} aria-label=${`Why: ${format.componentName(d.component)}`} onClick=${() => setOpen(shown ? null : k)}>${shown ? 'Close' : 'Why?'}</button></td>
        </tr>
        ${shown && html`<tr class="detail"><td colspan=${columns}><${Explanation} decision=${d} /></td></tr>`}
      <//>`;
    })}</tbody>
  </table>`;
}
