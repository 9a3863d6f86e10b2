// The API's records, as the page uses them. This is the one place that knows
// how the API spells things; see package api for their meaning.

import * as client from './client.js';
import {componentName, instant} from './format.js';

// path is a component's place below a resource of the API.
export const path = id => (id.namespace ? client.segments(id.namespace, id.service, id.component) : client.segments(id.service, id.component));

// hash is a component's place in this page.
export const hash = id => `#/components/${path(id)}`;

// component reads one component of v1/components.
export function component(raw) {
  const id = raw.id;
  return {
    ...raw,
    id,
    key: componentName(id),
    mode: raw.policy.mode,
    decision: raw.decision ?? null,
  };
}

// history turns the buckets of v1/history into columns.
export function history(raw, resource) {
  const columns = {times: [], mean: [], peak: [], replicas: [], request: []};
  for (const b of raw.buckets ?? []) {
    const usage = b[resource];
    columns.times.push(instant(b.start) / 1000);
    columns.mean.push(usage?.mean ?? null);
    columns.peak.push(usage?.max ?? null);
    columns.replicas.push(b.replicas ?? null);
    columns.request.push((resource === 'memory' ? b.memoryRequest : b.cpuRequest) ?? null);
  }
  return columns;
}

// row returns, per step of a forecast, the quantile of a level, interpolated as
// the server does.
export function quantile(forecast, rows, level) {
  const levels = forecast.levels;
  let hi = levels.findIndex(l => l >= level);
  if (hi < 0) hi = levels.length - 1;
  const lo = levels[hi] === level || hi === 0 ? hi : hi - 1;
  const share = lo === hi ? 0 : (level - levels[lo]) / (levels[hi] - levels[lo]);
  return (rows ?? []).map(r => r[lo] + (r[hi] - r[lo]) * share);
}
