// A decision, retold: what was looked at, what it asks for, each limit in order
// and what came of it.

import {html} from './lib.js';
import * as format from './format.js';
import * as words from './words.js';
import {Ago, Badge, Time} from './ui.js';
import {useSettings} from './settings.js';

// ReasonBadge is a decision's reason in two words.
export function ReasonBadge({code}) {
  const r = words.reason(code);
  return html`<${Badge} look=${r.look} title=${r.text}>${r.title}<//>`;
}

export function Explanation({decision}) {
  const {zone} = useSettings();
  const steps = words.explain(decision, zone);
  return html`<div class="explanation">
    <ol>${steps.map((s, i) => html`<li key=${i} class=${`step ${s.kind} ${s.decisive ? 'decisive' : ''}`}>
      <div class="step-text"><p class="step-title">${s.title}</p><p>${s.text}</p>${s.sum && html`<p class="sum num">${s.sum}</p>`}</div>
      <div class="step-number num">${number(s)}</div>
    </li>`)}</ol>
    <dl class="facts small">
      ${decision.message && html`<div class="fact wide"><dt>In the record</dt><dd>${decision.message}</dd></div>`}
      <div class="fact"><dt>Decided</dt><dd><${Time} at=${decision.time} /></dd></div>
      <div class="fact"><dt>Expires</dt><dd><${Ago} at=${decision.expires} /></dd></div>
      ${decision.forecasters && html`<div class="fact"><dt>Forecast by</dt><dd>${Object.entries(decision.forecasters).map(([r, f]) => `${f} (${format.resourceName(r)})`).join(', ')}</dd></div>`}
      ${decision.model && html`<div class="fact"><dt>Model</dt><dd><code title=${decision.model}>${decision.model.slice(0, 12)}</code></dd></div>`}
      ${decision.run && html`<div class="fact"><dt>Run</dt><dd><a href=${`#/runs/${encodeURIComponent(decision.run)}`}>${decision.run}</a></dd></div>`}
    </dl>
  </div>`;
}

function number(s) {
  if (s.kind === 'clamp') return html`<span class="was">${s.before}</span><span class="hidden"> becomes </span><span aria-hidden="true"> → </span><b>${s.replicas}</b>`;
  if (s.replicas === undefined) return null;
  return html`<b>${s.replicas}</b><span class="hidden"> ${s.replicas === 1 ? 'replica' : 'replicas'}</span>`;
}
