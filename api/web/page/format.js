// Numbers, quantities and instants as people read them. Everything here is a
// plain function of its arguments; what is unknown (null, undefined, NaN) reads
// as a dash and never as 0.

export const unknown = '–';

const isKnown = v => typeof v === 'number' && Number.isFinite(v);

// number writes v with about the given count of significant digits, and with
// none behind the point that say nothing.
export function number(v, digits = 3) {
  if (!isKnown(v)) return unknown;
  if (v === 0) return '0';
  const places = Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(Math.abs(v)))));
  return String(Number(v.toFixed(places)));
}

// cores writes CPU usage as Kubernetes does: millicores below one core.
export function cores(v) {
  if (!isKnown(v)) return unknown;
  if (v === 0) return '0';
  if (Math.abs(v) < 0.9995) return `${number(v * 1000)}m`;
  return number(v);
}

const binary = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

// bytes writes an amount of memory in the largest unit that leaves at least 1.
export function bytes(v) {
  if (!isKnown(v)) return unknown;
  let unit = 0;
  while (Math.abs(v) >= 1023.5 && unit < binary.length - 1) {
    v /= 1024;
    unit++;
  }
  return `${number(v)} ${binary[unit]}`;
}

// quantity writes usage of a resource with its unit.
export function quantity(resource, v) {
  if (!isKnown(v)) return unknown;
  if (resource === 'memory') return bytes(v);
  const s = cores(v);
  return s.endsWith('m') ? s : `${s} ${s === '1' ? 'core' : 'cores'}`;
}

export function percent(share, digits = 2) {
  return isKnown(share) ? `${number(share * 100, digits)} %` : unknown;
}

export function count(n, singular, plural = `${singular}s`) {
  return `${isKnown(n) ? n.toLocaleString('en') : unknown} ${n === 1 ? singular : plural}`;
}

// resourceName is what a resource is called in running text.
export const resourceName = r => (r === 'cpu' ? 'CPU' : r);

export const capital = s => (s ? s[0].toUpperCase() + s.slice(1) : s);

// seconds reads a duration as Go writes it ("1h2m0.5s"). It returns null for
// what is none.
export function seconds(go) {
  if (typeof go !== 'string' || go === '') return null;
  const units = {h: 3600, m: 60, s: 1, ms: 1e-3, µs: 1e-6, us: 1e-6, ns: 1e-9};
  let total = 0;
  const rest = go.replace(/(\d+(?:\.\d+)?)(h|ms|m|µs|us|ns|s)/g, (_, n, unit) => {
    total += Number(n) * units[unit];
    return '';
  });
  return rest === '' ? total : rest === '-' ? -total : null;
}

// span writes a stretch of time, given in milliseconds, in one or two units.
export function span(ms) {
  if (!isKnown(ms)) return unknown;
  const s = Math.round(Math.abs(ms) / 1000);
  if (s < 1) return `${Math.round(Math.abs(ms))} ms`;
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 10 && s % 60) return `${m} min ${s % 60} s`;
  if (m < 60) return `${Math.round(s / 60)} min`;
  const hours = Math.floor(m / 60);
  if (hours < 48) return m % 60 ? `${hours} h ${m % 60} min` : `${hours} h`;
  return count(Math.round(hours / 24), 'day');
}

// instant reads an RFC 3339 time. What is none, and Go's zero time, is null.
export function instant(text) {
  if (!text) return null;
  const d = new Date(text);
  return Number.isNaN(d.getTime()) || d.getUTCFullYear() < 1971 ? null : d;
}

// ago says how far an instant lies from now, in either direction.
export function ago(then, now) {
  if (!then || !now) return unknown;
  const ms = now - then;
  if (Math.abs(ms) < 5000) return 'just now';
  const s = Math.abs(ms) / 1000;
  const text = s < 60 ? `${Math.round(s)} s`
    : s < 3600 ? `${Math.round(s / 60)} min`
      : s < 48 * 3600 ? `${number(s / 3600, 2)} h`
        : count(Math.round(s / 86400), 'day');
  return ms >= 0 ? `${text} ago` : `in ${text}`;
}

// Instants are shown in UTC or in the reader's zone; formatters are costly to
// make, so each is made once.
const formatters = new Map();
function formatter(zone, options) {
  const key = zone + JSON.stringify(options);
  if (!formatters.has(key)) {
    formatters.set(key, new Intl.DateTimeFormat('en-GB', {...options, hourCycle: 'h23', timeZone: zone === 'utc' ? 'UTC' : undefined}));
  }
  return formatters.get(key);
}

const clockOptions = {hour: '2-digit', minute: '2-digit'};
const dayOptions = {weekday: 'short', day: 'numeric', month: 'short'};

export const clock = (d, zone) => (d ? formatter(zone, clockOptions).format(d) : unknown);
export const clockWithSeconds = (d, zone) => (d ? formatter(zone, {...clockOptions, second: '2-digit'}).format(d) : unknown);
export const day = (d, zone) => (d ? formatter(zone, dayOptions).format(d).replace(',', '') : unknown);
export const shortDay = (d, zone) => (d ? formatter(zone, {day: 'numeric', month: 'short'}).format(d) : unknown);
export const dayAndClock = (d, zone) => (d ? `${day(d, zone)} ${clock(d, zone)}` : unknown);

// near writes the time alone where the day is today's, else with its day.
export function near(d, now, zone) {
  if (!d) return unknown;
  return now && shortDay(d, zone) === shortDay(now, zone) ? clock(d, zone) : `${shortDay(d, zone)} ${clock(d, zone)}`;
}

// zoneName is what the zone is called beside a time.
export function zoneName(zone) {
  if (zone === 'utc') return 'UTC';
  return formatter('local', {timeZoneName: 'short'}).formatToParts(new Date()).find(p => p.type === 'timeZoneName')?.value ?? 'local';
}

// componentName is a component's name as the API spells it in paths.
export function componentName(id) {
  return id.namespace ? `${id.namespace}/${id.service}/${id.component}` : `${id.service}/${id.component}`;
}

// autoscaler shortens the name of an autoscaler's kind, which everybody knows.
export const autoscaler = name => (name ?? '').replace(/^HorizontalPodAutoscaler\//, 'HPA ').replace('/', ' ');
