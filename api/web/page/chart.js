// Charts over time, drawn by uPlot, with a legend that tells the values under
// the cursor and the same numbers as a table for those who cannot see them.

import {html, useEffect, useLayoutEffect, useMemo, useRef, useState} from './lib.js';
import * as format from './format.js';
import {useColours, useSettings} from './settings.js';

/* global uPlot */

// A chart's lines are given as objects:
//   label   what it is called
//   values  one per instant: a number, null for a gap, undefined where the line
//           has no point of its own at that instant and goes on
//   colour  the name of a custom property of the style sheet, without dashes
//   width, dash, stepped, points
//   below   the index of the line down to which the space is filled
//   hidden  kept out of the legend (the other edge of a band)
//   also    a function of the index that adds to the legend's value

// colour resolves a custom property, which may depend on the theme.
function colour(probe, name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function translucent(rgb, alpha) {
  const [r, g, b] = rgb.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

// Room for the labels of the y axis, equal in all charts so that their times
// stand below each other.
const gutter = 58;

export function Chart({label, times, lines, from, to, now, height, write, sync, whole}) {
  const place = useRef();
  const plot = useRef();
  const [cursor, setCursor] = useState(null);
  const {zone} = useSettings();
  const colours = useColours();
  const shape = lines.map(l => [l.label, l.colour, l.width, l.dash, l.stepped, l.below, l.points].join()).join(';');
  const state = useRef({});
  state.current = {now, from, to, write};

  useLayoutEffect(() => {
    const probe = place.current;
    const text = colour(probe, 'muted');
    const grid = colour(probe, 'grid');
    const font = `11px ${getComputedStyle(probe).fontFamily}`;
    const axis = {stroke: text, font, grid: {stroke: grid, width: 1}, ticks: {show: false}};
    const marker = colour(probe, 'now');
    const options = {
      width: Math.max(160, probe.clientWidth),
      height,
      padding: [10, 8, 0, 0],
      legend: {show: false},
      tzDate: seconds => (zone === 'utc' ? uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC') : new Date(seconds * 1000)),
      cursor: {
        sync: sync ? {key: sync, setSeries: false} : undefined,
        points: {size: 7},
        drag: {x: true, y: false},
        y: false,
      },
      scales: {
        x: {time: true},
        y: {range: (_, __, high) => [0, high > 0 ? (whole ? Math.ceil(high) + 1 : high * 1.08) : 1]},
      },
      axes: [
        {...axis, size: 36, gap: 4, space: 62, values: times24},
        {...axis, size: gutter, space: 34, incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000] : undefined,
          values: (_, splits) => splits.map(v => state.current.write(v))},
      ],
      series: [{}, ...lines.map(l => ({
        label: l.label,
        stroke: l.width === 0 ? undefined : colour(probe, l.colour),
        width: l.width ?? 1.5,
        dash: l.dash,
        points: {show: l.points ?? false, size: 6, fill: l.width === 0 ? undefined : colour(probe, l.colour)},
        paths: l.stepped ? uPlot.paths.stepped({align: 1}) : undefined,
      }))],
      bands: lines.flatMap((l, i) => (l.below === undefined ? [] : [{series: [i + 1, l.below + 1], fill: translucent(colour(probe, l.colour), 0.16)}])),
      hooks: {
        drawClear: [u => shadeFuture(u, state.current.now, colour(probe, 'future'))],
        draw: [u => (whole ? drawNow(u, state.current.now, marker) : markNow(u, state.current.now, marker, font))],
        setCursor: [u => setCursor(u.cursor.idx ?? null)],
      },
    };
    probe.style.color = '';
    const u = plot.current = new uPlot(options, [times, ...lines.map(l => l.values)], place.current);
    u.setScale('x', {min: from, max: to});
    state.current.shown = [from, to];
    const observer = new ResizeObserver(() => {
      const width = Math.max(160, place.current.clientWidth);
      if (width !== u.width) u.setSize({width, height});
    });
    observer.observe(place.current);
    return () => {
      observer.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [shape, zone, colours, height, sync, whole]);

  const shown = useRef([from, to]);
  useEffect(() => {
    const u = plot.current;
    // A reader who has zoomed in keeps what they look at.
    const zoomed = u.scales.x.min !== shown.current[0] || u.scales.x.max !== shown.current[1];
    const moved = from !== shown.current[0] || to !== shown.current[1];
    const wider = to - from !== shown.current[1] - shown.current[0];
    u.setData([times, ...lines.map(l => l.values)], false);
    if (!zoomed || wider) u.setScale('x', {min: from, max: to});
    else u.redraw(true, true);
    if (moved && (!zoomed || wider)) shown.current = [from, to];
  }, [times, lines, from, to, now]);

  return html`<figure class="chart" aria-label=${label}>
    <${Legend} lines=${lines} times=${times} at=${cursor} write=${write} zone=${zone} />
    <div class="plot" ref=${place} aria-hidden="true" />
  </figure>`;
}

// Spark is a line without axes: what was used, and what is forecast. It adds
// nothing for those who cannot see it, because the component's own page has the
// numbers.
export function Spark({times, lines, from, to, now}) {
  const place = useRef();
  const colours = useColours();
  useLayoutEffect(() => {
    const probe = place.current;
    const off = {show: false};
    const marker = colour(probe, 'now');
    const u = new uPlot({
      width: 128, height: 30, padding: [2, 0, 2, 0], legend: off, cursor: off, axes: [off, off], select: off,
      scales: {x: {time: true, range: [from, to]}, y: {range: (_, __, high) => [0, high || 1]}},
      series: [{}, ...lines.map(l => ({stroke: colour(probe, l.colour), width: 1.25, points: off}))],
      hooks: {drawClear: [chart => shadeFuture(chart, now, colour(probe, 'future'))], draw: [chart => drawNow(chart, now, marker)]},
    }, [times, ...lines.map(l => l.values)], probe);
    probe.style.color = '';
    return () => u.destroy();
  }, [times, lines, from, to, now, colours]);
  return html`<div class="spark" ref=${place} aria-hidden="true" />`;
}

// times24 labels the time axis: clock times, and the day where it changes.
function times24(u, splits, _, space, incr) {
  let before = '';
  return splits.map(s => {
    const d = u.opts?.tzDate ? u.opts.tzDate(s) : new Date(s * 1000);
    const two = n => String(n).padStart(2, '0');
    const date = `${d.getDate()} ${['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'][d.getMonth()]}`;
    const first = date !== before;
    before = date;
    if (incr >= 86400) return date;
    const time = `${two(d.getHours())}:${two(d.getMinutes())}`;
    return first ? `${time}\n${date}` : time;
  });
}

function shadeFuture(u, now, fill) {
  if (!now) return;
  const left = Math.max(u.bbox.left, u.valToPos(now, 'x', true));
  const right = u.bbox.left + u.bbox.width;
  if (left >= right) return;
  u.ctx.save();
  u.ctx.fillStyle = fill;
  u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
  u.ctx.restore();
}

// drawNow draws the line between what was and what will be, and returns where.
function drawNow(u, now, stroke) {
  if (!now) return null;
  const x = Math.round(u.valToPos(now, 'x', true));
  if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return null;
  const {ctx} = u;
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.lineWidth = 1.25 * devicePixelRatio;
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.moveTo(x, u.bbox.top);
  ctx.lineTo(x, u.bbox.top + u.bbox.height);
  ctx.stroke();
  ctx.restore();
  return x;
}

function markNow(u, now, stroke, font) {
  const x = drawNow(u, now, stroke);
  if (x === null) return;
  const ratio = devicePixelRatio;
  const {ctx} = u;
  ctx.save();
  ctx.font = font.replace(/[\d.]+px/, `600 ${10.5 * ratio}px`);
  ctx.fillStyle = stroke;
  ctx.textBaseline = 'top';
  const left = x + 34 * ratio > u.bbox.left + u.bbox.width;
  ctx.textAlign = left ? 'right' : 'left';
  ctx.fillText('now', x + (left ? -4 : 4) * ratio, u.bbox.top + 2 * ratio);
  ctx.restore();
}

// Legend names the lines and tells their values under the cursor.
function Legend({lines, times, at, write, zone}) {
  const d = at === null || times[at] === undefined ? null : new Date(times[at] * 1000);
  return html`<figcaption class="legend">
    ${lines.map((l, i) => l.hidden ? null : html`<span class="key" key=${i}>
      <span class=${`swatch ${l.below !== undefined ? 'area' : l.dash ? 'dashed' : ''} c-${l.colour}`} aria-hidden="true" />${l.label}
      <b class=${`num ${l.below === undefined ? '' : 'two'}`}>${d ? (l.tell ? l.tell(at) : valueAt(l, at, write)) : ''}</b>
    </span>`)}
    <span class="when num">${d ? format.dayAndClock(d, zone) : ''}</span>
  </figcaption>`;
}

// valueAt is a line's value at an instant: its own, or where it goes on, the one
// before.
export function valueAt(line, at, write) {
  let v = line.values[at];
  const more = line.stepped && line.values.findLastIndex(x => x !== undefined) >= at;
  if (more) for (let i = at; v === undefined && i > 0; ) v = line.values[--i];
  return typeof v === 'number' ? write(v) : format.unknown;
}

// Table holds the numbers of a chart, for screen readers and for copying. It is
// filled once it is opened.
export function Table({caption, columns, rows, summary = 'Show as a table'}) {
  const [open, setOpen] = useState(false);
  const list = useMemo(() => (open ? rows() : []), [open, rows]);
  return html`<details class="as-table" onToggle=${e => setOpen(e.currentTarget.open)}>
    <summary>${summary}</summary>
    ${open && html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table>
      <caption class="hidden">${caption}</caption>
      <thead><tr>${columns.map((c, i) => html`<th scope="col" class=${i ? 'right' : ''} key=${c}>${c}</th>`)}</tr></thead>
      <tbody>${list.map(r => html`<tr key=${r[0]}>${r.map((c, i) => i ? html`<td class="right num" key=${i}>${c}</td>` : html`<th scope="row" class="num" key=${i}>${c}</th>`)}</tr>`)}</tbody>
    </table></div>`}
  </details>`;
}
