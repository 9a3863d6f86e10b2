// The API's records, as the page uses them. This is the one place that knows
// how the API spells things; see package api for their meaning.

import * as client from './client.js';
import {componentName, instant} from './format.js';

// path is a component's place below a resource of the API, where "-" stands for
// no namespace; servicePath is a service's.
export const path = id => client.segments(id.namespace || '-', id.service, id.component);
export const servicePath = id => client.segments(id.namespace || '-', id.service);

// hash is a component's place in this page.
export const hash = id => `#/components/${path(id)}`;

// parse reads what hash wrote.
export const parse = ([namespace, service, component]) => ({namespace: namespace === '-' ? '' : namespace, service, component});

// component reads one component of v1/components. raised says that its floor
// lies above the operator's own number now; would, that it would in Auto.
export function component(raw) {
  const decision = raw.decision ?? null;
  const above = decision !== null && decision.minReplicas > raw.policy.minReplicas;
  return {
    ...raw,
    key: componentName(raw.id),
    mode: raw.policy.mode,
    fixed: !raw.policyVersion,
    decision,
    hindrance: hindrance(raw.target),
    raised: above && decision.applied,
    would: above && !decision.applied,
  };
}

// hindrance says in a sentence why nothing can be written for a target, "" where
// it can.
function hindrance(target) {
  if (!target) return '';
  if (target.conflict) return `It is left alone: ${target.conflict}.`.replace(/\.\.$/, '.');
  if (!target.scalable) return `${target.kind ?? 'Its target'} ${target.name ?? ''} cannot be scaled${target.message ? `: ${target.message}` : ''}.`.replace(/\.\.$/, '.');
  return '';
}

// since is the start of the bucket that lies some hours before an instant. It
// stays the same for a while, so that the same is asked for again.
export function since(at, hours) {
  const bucket = 15 * 60e3;
  return new Date(Math.floor((at - hours * 3600e3) / bucket) * bucket);
}

// history turns the buckets of v1/history into columns. What was not measured
// is null, so that a line breaks there.
export function history(raw, resource) {
  const columns = {times: [], mean: [], peak: [], replicas: []};
  const add = (time, usage, replicas) => {
    columns.times.push(time);
    columns.mean.push(usage?.mean ?? null);
    columns.peak.push(usage?.max ?? null);
    columns.replicas.push(replicas ?? null);
  };
  let expected = null;
  for (const b of raw?.buckets ?? []) {
    const time = instant(b.start) / 1000;
    if (expected !== null && time > expected) add(expected, null, null);
    add(time, b[resource], b.replicas);
    expected = time + raw.stepSeconds;
  }
  return columns;
}

// quantile returns, per step of a forecast, the quantile of a level: that of the
// nearest two levels, as the server reads it.
export function quantile(forecast, rows, level) {
  const levels = forecast.levels;
  const above = levels.findIndex(l => l >= level);
  const hi = above < 0 ? levels.length - 1 : above;
  const lo = above <= 0 ? hi : hi - 1;
  const share = lo === hi ? 0 : (level - levels[lo]) / (levels[hi] - levels[lo]);
  return (rows ?? []).map(r => r[lo] + (r[hi] - r[lo]) * share);
}
