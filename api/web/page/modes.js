// Switching modes: of one component, or of all of a service.

import {html, useState} from './lib.js';
import * as client from './client.js';
import * as model from './model.js';
import * as words from './words.js';
import {count} from './format.js';
import {useServer} from './data.js';
import {Choice, Dialog, toast} from './ui.js';

const options = Object.entries(words.modes).map(([value, title]) => ({value, title, class: `mode-${value.toLowerCase()}`}));

// ModeSwitch shows the mode that components have and lets it be changed. Where
// they differ, none is pressed. changed is called once a mode has changed.
export function ModeSwitch({components, name, changed, small}) {
  const {write} = useServer();
  const [asked, ask] = useState(null);
  const modes = new Set(components.map(c => c.mode));
  const value = modes.size === 1 ? [...modes][0] : null;
  const readOnly = !write;
  const choose = mode => {
    const affected = components.filter(c => c.mode !== mode);
    if (needsWord(mode, affected)) ask({mode, affected});
    else apply(mode, affected, changed).catch(e => toast(e.message, 'bad'));
  };
  return html`<${Choice} small=${small} class="modes" label=${`Mode of ${name}${readOnly ? ' (read only)' : ''}`} options=${options} value=${value}
      disabled=${readOnly} onChoose=${choose} />
    ${asked && html`<${Confirm} ...${asked} name=${name} changed=${changed} close=${() => ask(null)} />`}`;
}

// needsWord says whether switching has consequences in the cluster.
function needsWord(mode, affected) {
  if (mode === 'Auto') return true;
  return affected.some(c => c.mode === 'Auto');
}

function Confirm({mode, affected, name, changed, close}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await apply(mode, affected, changed);
      close();
    } catch (e) {
      setError(e);
      setBusy(false);
      changed();
    }
  };
  const shadows = affected.filter(c => c.decision && c.decision.reason !== 'NotManaged');
  const many = affected.length > 1;
  const raised = affected.filter(c => c.mode === 'Auto' && c.decision?.applied && c.decision.minReplicas > c.policy.minReplicas);
  return html`<${Dialog} title=${`Switch ${name} to ${mode}?`} confirm=${`Switch to ${mode}`} look=${mode === 'Auto' ? 'primary' : 'primary'}
      busy=${busy} error=${error} onConfirm=${confirm} onCancel=${close}>
    ${mode === 'Auto' ? html`
      <ul>${words.confirmAuto(affected).map(p => html`<li key=${p}>${p}</li>`)}</ul>
      ${!many && shadows.length === 1 && html`<p class="note">By the newest decision the floor ${affected[0].mode === 'Shadow' ? 'would be' : 'was'} <b>${shadows[0].decision.minReplicas}</b>; your minReplicas is ${affected[0].policy.minReplicas}.</p>`}
      ${many && html`<p class="note">${count(affected.length, 'component')} will change: ${affected.map(c => c.id.component).join(', ')}.</p>`}`
    : html`
      <p>${mode === 'Off' ? 'Forecasts and decisions end.' : 'Forecasts and decisions go on, but nothing is written any more.'}
        ${' '}Your own minReplicas comes back, and your HPA works alone.</p>
      ${raised.length > 0 && html`<p class="note warn">${raised.map(c => `The floor of ${c.key} is ${c.decision.minReplicas} now and goes back to ${c.policy.minReplicas}.`).join(' ')} Pods may be removed if usage allows it.</p>`}`}
  <//>`;
}

async function apply(mode, affected, changed) {
  for (const c of affected) {
    try {
      await client.change('PATCH', `components/${model.path(c.id)}/policy`, {mode}, {etag: c.etag});
    } catch (e) {
      if (e.status === 412) e.message = `Somebody else has changed ${c.key} in the meantime. Look again before you switch it.`;
      changed();
      throw e;
    }
  }
  toast(affected.length === 1 ? `${affected[0].key} is ${mode} now.` : `${count(affected.length, 'component')} are ${mode} now.`);
  changed();
}
