// Switching modes: of one component, or of all of a service.

import {html, useState} from './lib.js';
import * as client from './client.js';
import * as model from './model.js';
import * as words from './words.js';
import {count} from './format.js';
import {useServer} from './data.js';
import {Choice, Dialog, toast} from './ui.js';

const options = Object.entries(words.modes).map(([value, title]) => ({value, title, class: `mode-${value.toLowerCase()}`}));

// ModeSwitch shows the mode that components have and lets it be changed: that of
// a component or, given a service, of all that belongs to it. Where they differ,
// none is pressed. changed is called once a mode has changed.
export function ModeSwitch({components, service, name, changed, small}) {
  const {write} = useServer();
  const [asked, ask] = useState(null);
  const modes = new Set(components.map(c => c.mode));
  const value = modes.size === 1 ? [...modes][0] : null;
  const readOnly = !write || components.some(c => c.fixed);
  const choose = mode => {
    const affected = components.filter(c => c.mode !== mode);
    const apply = () => (service ? applyService(service, mode, name) : applyComponent(components[0], mode)).finally(changed);
    if (needsWord(mode, affected)) ask({mode, affected, apply, many: Boolean(service)});
    else apply().catch(e => toast(e.message, 'bad'));
  };
  return html`<${Choice} small=${small} class="modes" label=${`Mode of ${name}${readOnly ? ' (read only)' : ''}`} options=${options} value=${value}
      disabled=${readOnly} onChoose=${choose} />
    ${asked && html`<${Confirm} ...${asked} name=${name} close=${() => ask(null)} />`}`;
}

// needsWord says whether switching has consequences in the cluster.
function needsWord(mode, affected) {
  if (mode === 'Auto') return true;
  return affected.some(c => c.mode === 'Auto');
}

function Confirm({mode, affected, many, apply, name, close}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await apply();
      close();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  };
  const shadows = affected.filter(c => c.decision && c.decision.reason !== 'NotManaged');
  const raised = affected.filter(c => c.mode === 'Auto' && c.raised);
  return html`<${Dialog} title=${`Switch ${name} to ${mode}?`} confirm=${`Switch to ${mode}`} busy=${busy} error=${error} onConfirm=${confirm} onCancel=${close}>
    ${mode === 'Auto' ? html`
      ${!many && affected[0].hindrance && html`<p class="note warn">${affected[0].hindrance} Nothing is written while that is so.</p>`}
      <ul>${words.confirmAuto(affected, many).map(p => html`<li key=${p}>${p}</li>`)}</ul>
      ${!many && shadows.length === 1 && html`<p class="note">By the newest decision the floor ${affected[0].mode === 'Shadow' ? 'would be' : 'was'} <b>${shadows[0].decision.minReplicas}</b>; your minReplicas is ${affected[0].policy.minReplicas}.</p>`}
      ${many && html`<p class="note">${count(affected.length, 'component')} will change: ${affected.map(c => c.id.component).join(', ')}.</p>`}`
    : html`
      <p>${mode === 'Off' ? 'Forecasts and decisions end.' : 'Forecasts and decisions go on, but nothing is written any more.'}
        ${' '}Your own minReplicas comes back, and your HPA works alone.</p>
      ${raised.length > 0 && html`<p class="note warn">${raised.map(c => `The floor of ${c.key} is ${c.decision.minReplicas} now and goes back to ${c.policy.minReplicas}.`).join(' ')} Pods may be removed if usage allows it.</p>`}`}
  <//>`;
}

async function applyComponent(c, mode) {
  await patch(`policies/${model.path(c.id)}`, mode, c.policyVersion, c.key);
  toast(`${c.key} is ${mode} now.`);
}

// applyService sets the service's mode, which new components will have too, and
// takes away what single components had of their own.
async function applyService(id, mode, name) {
  const path = `policies/${model.servicePath(id)}`;
  const {body, etag} = await client.get(path);
  await patch(path, mode, etag, name);
  for (const [component, settings] of Object.entries(body.components)) {
    if (!settings.mode) continue;
    const own = `policies/${model.path({...id, component})}`;
    await patch(own, null, (await client.get(own)).etag, component);
  }
  toast(`All of ${name} is ${mode} now.`);
}

async function patch(path, mode, etag, name) {
  try {
    await client.change('PATCH', path, {mode}, {etag});
  } catch (e) {
    if (e.status === 412) e.message = `Somebody else has changed ${name} in the meantime. Look again before you switch it.`;
    throw e;
  }
}
