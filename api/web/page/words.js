// What the machine words of the API mean, in sentences for operators. Plain
// functions: they see records as the API sends them and return text.

import {autoscaler, capital, clock, count, instant, percent, quantity, resourceName} from './format.js';

// reasons gives, per reason code of a decision, a short title, what it means
// and how it should look: "good" acts on a forecast, "quiet" is as wanted,
// "warn" and "bad" want somebody's attention.
const reasons = {
  FloorRaised: {title: 'Floor raised', look: 'good', text: 'The forecast asks for more replicas than the floor before, so it was raised ahead of the rise.'},
  FloorLowered: {title: 'Floor lowered', look: 'good', text: 'The forecast asks for fewer replicas than the floor before.'},
  FloorKept: {title: 'Floor kept', look: 'good', text: 'The forecast asks for what the floor already is.'},
  FloorReleased: {title: 'Floor released', look: 'quiet', text: 'There is no forecast to act on: your own minReplicas holds.'},
  NotManaged: {title: 'Off', look: 'quiet', text: 'The mode is Off: nothing is forecast, decided or written.'},
  InvalidPolicy: {title: 'Policy cannot be used', look: 'bad', text: 'Your policy cannot be read or breaks a rule, so nothing is written. A floor that was set before stays until it expires.'},
  InsufficientData: {title: 'Still learning', look: 'quiet', text: 'There is too little history to forecast from. Your own minReplicas holds until there is.'},
  StaleSamples: {title: 'Samples too old', look: 'warn', text: 'The newest measurement is too old to forecast from. Your own minReplicas holds.'},
  NoRequests: {title: 'No requests', look: 'warn', text: 'The pods request neither CPU nor memory with a forecast, so there is nothing to divide by. Set requests to get a floor.'},
  NoForecast: {title: 'No forecast', look: 'warn', text: 'No forecaster had an answer for the window of this decision. Your own minReplicas holds.'},
  InvalidForecast: {title: 'Forecast invalid', look: 'bad', text: 'The forecast was not a usable number and was thrown away. Your own minReplicas holds.'},
  ForecastOutOfRange: {title: 'Forecast out of range', look: 'warn', text: 'The forecast lies far outside of everything ever measured and is not believed. Your own minReplicas holds.'},
  TargetNotScalable: {title: 'Cannot be scaled', look: 'warn', text: 'The target cannot be scaled, or somebody else owns it. Nothing is written.'},
  CoolingDown: {title: 'Cooling down', look: 'quiet', text: 'The floor changed too recently to change again.'},
  BudgetExhausted: {title: 'Waiting its turn', look: 'quiet', text: 'This run had already changed as many floors as it may. The next run decides again.'},
  PluginError: {title: 'Plugin failed', look: 'bad', text: 'A plugin broke. The floor stays or goes back to your own minReplicas; the run\'s log says more.'},
};

export function reason(code) {
  return reasons[code] ?? {title: code ? code.replace(/([a-z])([A-Z])/g, '$1 $2') : 'None yet', look: 'quiet', text: ''};
}

export const reasonCodes = Object.keys(reasons);

// clamps names the limits of the arithmetic.
const clamps = {
  MinReplicas: 'Your minReplicas',
  MaxReplicas: 'Your maxReplicas',
  MaxStep: 'Largest rise at once',
  Hold: 'Hold',
  Released: 'Given back',
  Kept: 'Kept',
  Capacity: 'Room in the cluster',
};

export const modes = {
  Off: 'Neither forecast nor decide. Your HPA works alone.',
  Shadow: 'Forecast and decide, write nothing. You see what it would do.',
  Auto: 'Forecast, decide and raise the floor under your HPA.',
};

export const phaseLook = {
  Pending: 'quiet', Running: 'busy', Succeeded: 'good', Failed: 'bad', Stopped: 'warn', Omitted: 'quiet',
};

// floorOf says in a few words what a decision did to the floor.
export function floorChange(d) {
  const before = d.previousReplicas;
  if (before == null || before === d.minReplicas) return String(d.minReplicas);
  return `${before} → ${d.minReplicas}`;
}

const statistic = {peak: 'peak', mean: 'mean'};

// origin says where a share of the request comes from; nothing where nobody has
// set it.
function origin(from) {
  if (!from || from === 'default' || from === 'formula') return '';
  return from === 'policy' ? ', as your policy says' : `, as ${autoscaler(from)} wants`;
}

// explain retells a decision step by step: what was forecast, what that asks
// for, each limit in order, and what came of it. Each step has a kind, a title
// and a text, and, where it has one, the number of replicas it leads to.
export function explain(d, zone) {
  const steps = [];
  const demands = d.demands ?? [];
  const at = t => clock(instant(t), zone);
  steps.push({
    kind: 'window',
    title: 'What must be served',
    text: d.from && d.to
      ? `Everything between ${at(d.from)} and ${at(d.to)}: until the next decision, and as long as a pod started then needs to be Ready.`
      : 'No window was looked at.',
  });
  let most = -1;
  demands.forEach((x, i) => { if (most < 0 || x.replicas > demands[most].replicas) most = i; });
  demands.forEach((x, i) => {
    const usage = quantity(x.resource, x.usage);
    const share = (x.utilization === 1 ? 'all of it may be used' : `${percent(x.utilization, 3)} of it should be used`) + origin(x.utilizationFrom);
    const sum = d.formula && d.formula !== 'quantile'
      ? `by the ${d.formula} formula`
      : `${usage} / (${quantity(x.resource, x.request)} × ${percent(x.utilization, 3)}), rounded up`;
    steps.push({
      kind: 'demand', resource: x.resource, decisive: i === most,
      title: `${capital(resourceName(x.resource))}, ${statistic[x.statistic] ?? x.statistic} usage`,
      text: `Forecast to reach ${usage} in the bucket of ${at(x.bucket)} (${percent(x.level, 3)} quantile). One pod requests ${quantity(x.resource, x.request)}, and ${share}.`,
      sum, replicas: x.replicas,
    });
  });
  if (demands.length > 1) {
    const x = demands[most];
    steps.push({
      kind: 'largest', title: 'The largest counts',
      text: `${capital(resourceName(x.resource))} by its ${x.statistic} asks for most.`, replicas: x.replicas,
    });
  }
  for (const c of d.clamps ?? []) {
    steps.push({
      kind: 'clamp', title: clamps[c.name] ?? c.name,
      text: c.message ? `Because ${c.message}.` : '', before: c.before, replicas: c.after,
    });
  }
  if (demands.length && !(d.clamps ?? []).length) {
    steps.push({kind: 'unlimited', title: 'No limit applied', text: `Your bounds (${d.policy?.minReplicas}–${d.policy?.maxReplicas}) leave this number as it is.`});
  }
  steps.push({
    kind: 'outcome', title: reason(d.reason).title, replicas: d.minReplicas,
    text: outcome(d, at),
  });
  return steps;
}

// forecastReasons are those of decisions that act on a forecast.
const forecastReasons = ['FloorRaised', 'FloorLowered', 'FloorKept'];

function outcome(d, at) {
  const floor = count(d.minReplicas, 'replica');
  const acts = forecastReasons.includes(d.reason);
  if (d.applied && acts) {
    return `A floor of ${floor} was written to the cluster. It holds${instant(d.expires) ? ` until ${at(d.expires)}, when it expires unless renewed` : ''}.`;
  }
  if (acts && d.policy?.mode === 'Shadow') return `Shadow: the floor would be ${floor}. Nothing was written.`;
  return `${reason(d.reason).text} ${d.applied ? 'This was written to the cluster.' : 'Nothing was written.'}`.trim();
}

// confirmAuto says what switching to Auto means, for one component or for many.
export function confirmAuto(components, many) {
  const one = many ? null : components[0];
  const points = [];
  if (one && !one.autoscaler) {
    points.push('No autoscaler is known for it. Where it has none, self-scaling creates an HPA with targets for CPU and memory utilization, and deletes it when you leave Auto.');
  } else {
    points.push(`self-scaling writes one field, minReplicas of ${one ? autoscaler(one.autoscaler) : 'each autoscaler'}, ahead of a forecast rise.`);
  }
  points.push(one
    ? `The floor stays between your minReplicas (${one.policy.minReplicas}) and your maxReplicas (${one.policy.maxReplicas}).`
    : 'Each floor stays between your own minReplicas and maxReplicas.');
  points.push('The HPA goes on reacting above the floor as before.');
  points.push('A floor expires on its own. When you leave Auto, or when forecasts stop, your own minReplicas comes back.');
  return points;
}
