// How many requests took how long, over time: a column a moment, a row a bucket of the histogram, darker where there are more.

import { drawing, frame, legendItem, line, mount } from './chart.js';
import { el, fillRows, setAttribute, setText } from './dom.js';
import { NONE, count, latency, percent } from './format.js';
import { quantile } from './history.js';
import { parts } from './theme.js';

/** No column is narrower. */
const COLUMN_PIXELS = 5;
/** No fewer rows are shown, so that a single bucket does not fill the card. */
const ROWS_LEAST = 8;
const QUANTILES = [[0.5, 'half', '--p50'], [0.99, '99 %', '--p99']];

/** A latency's heat map, with the median and the 99th percentile on it. */
export class HeatMap {
  #range = [0, 1];
  #rows = [0, ROWS_LEAST];
  #cells = [];
  #bounds = [];
  #most = 0;

  /** @param {HTMLElement} figure an empty figure with a heading */
  constructor(figure) {
    this.frame = frame(figure);
    this.values = QUANTILES.map(([, name, variable]) => legendItem(this.frame.legend, `${name} below`, variable));
    this.under = el('li', { class: 'under' });
    this.frame.legend.append(this.under);
    this.frame.head.append(el('tr', {}, ...['Latency', 'Requests', 'Share'].map((label) => el('th', { scope: 'col' }, label))));
    this.frame.details.addEventListener('toggle', () => this.#fillTable());
    const axis = { splits: (plot) => this.#splits(plot), values: (_, splits) => splits.map((row) => this.#bound(row - 1)), grid: { show: false } };
    const options = drawing(() => this.#range, String, axis);
    options.scales.y = { range: () => this.#rows };
    // Each line with an edge, to be seen on cells of any shade.
    options.series = [{}, ...QUANTILES.flatMap(([, , variable]) => [{ ...line('--card'), width: 4 }, line(variable)])];
    options.hooks = { drawClear: [(plot) => this.#draw(plot)], setCursor: [(plot) => this.#tell(plot)] };
    this.plot = mount(this.frame.place, options, options.series.map(() => []));
  }

  /** Shows a latency (`kind`) of these ticks within `range`. */
  update(ticks, kind, bounds, range) {
    this.#bounds = bounds;
    this.#range = range;
    this.#cells = this.#columns(ticks, kind);
    this.#most = Math.max(0, ...this.#cells.map(({ perSecond }) => Math.max(...perSecond)));
    this.#rows = this.#shownRows();
    const lines = QUANTILES.flatMap(([q]) => {
      const places = this.#cells.map(({ counts }) => this.#place(quantile(bounds, counts, q)));
      return [places, places];
    });
    this.plot.setData([this.#cells.map(({ start, end }) => (start + end) / 2), ...lines]);
    this.#fillWords();
    this.#fillTable();
  }

  /** Draws it again, for other colours. */
  redraw() {
    this.plot.redraw(false);
  }

  /** Ticks side by side, put together where there are more than columns. */
  #columns(ticks, kind) {
    const room = Math.max(1, Math.floor(this.frame.place.clientWidth / COLUMN_PIXELS));
    const each = Math.max(1, Math.ceil(ticks.length / room));
    const columns = new Map();
    for (const { time, sum, index } of ticks) {
      if (sum === null) continue;
      const key = Math.floor(index / each);
      const column = columns.get(key) ?? { start: time - sum.seconds, end: time, counts: new Float64Array(this.#bounds.length + 1) };
      column.end = time;
      sum.buckets(kind).forEach((counted, bucket) => (column.counts[bucket] += counted));
      columns.set(key, column);
    }
    return [...columns.values()].map((column) => {
      const seconds = column.end - column.start;
      return { ...column, perSecond: column.counts.map((counted) => counted / seconds) };
    });
  }

  /** From the lowest to the highest bucket that has any, with one more on each side. */
  #shownRows() {
    let [lowest, highest] = [this.#bounds.length, -1];
    for (const { counts } of this.#cells) {
      counts.forEach((counted, bucket) => {
        if (counted > 0) [lowest, highest] = [Math.min(lowest, bucket), Math.max(highest, bucket)];
      });
    }
    if (highest < 0) return [0, ROWS_LEAST];
    const first = Math.max(0, lowest - 1);
    const last = Math.min(this.#bounds.length + 1, Math.max(highest + 2, first + ROWS_LEAST));
    return [Math.max(0, Math.min(first, last - ROWS_LEAST)), last];
  }

  /** Where a latency lies on the axis of rows. */
  #place(ms) {
    if (ms === null) return null;
    const bucket = this.#bounds.findIndex((bound) => ms <= bound);
    if (bucket < 0) return this.#bounds.length;
    const lower = bucket === 0 ? 0 : this.#bounds[bucket - 1];
    return bucket + (ms - lower) / (this.#bounds[bucket] - lower);
  }

  /** Row boundaries with room for a label each. */
  #splits(plot) {
    const [first, last] = this.#rows;
    const every = Math.max(1, Math.ceil((last - first) / Math.max(1, plot.bbox.height / devicePixelRatio / 18)));
    const splits = [];
    for (let row = first; row <= last; row += every) splits.push(row);
    return splits;
  }

  /** The upper bound of a bucket, as the label of the row's upper edge. */
  #bound(bucket) {
    if (bucket < 0) return '0';
    return bucket < this.#bounds.length ? round(this.#bounds[bucket]) : '∞';
  }

  #draw(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const { start, end, perSecond } of this.#cells) {
      const left = Math.round(plot.valToPos(start, 'x', true));
      const right = Math.round(plot.valToPos(end, 'x', true));
      perSecond.forEach((rate, bucket) => {
        if (rate <= 0) return;
        const top = Math.round(plot.valToPos(bucket + 1, 'y', true));
        const bottom = Math.round(plot.valToPos(bucket, 'y', true));
        ctx.fillStyle = shade(Math.sqrt(rate / this.#most));
        ctx.fillRect(left, top, Math.max(1, right - left), bottom - top - 1);
      });
    }
    ctx.restore();
  }

  /** What lies under the cursor. */
  #tell(plot) {
    const { left, top } = plot.cursor;
    const time = left >= 0 ? plot.posToVal(left, 'x') : null;
    const column = time === null ? undefined : this.#cells.find(({ start, end }) => start < time && time <= end);
    const bucket = Math.floor(plot.posToVal(top, 'y'));
    const isIn = column !== undefined && top >= 0 && bucket >= 0 && bucket < column.counts.length;
    setText(this.under, isIn ? `${this.#span(bucket)}: ${count(column.counts[bucket])} requests` : '');
  }

  #span(bucket) {
    if (bucket === this.#bounds.length) return `over ${round(this.#bounds[bucket - 1])}`;
    return `${bucket === 0 ? '0' : round(this.#bounds[bucket - 1])} to ${round(this.#bounds[bucket])}`;
  }

  #totals() {
    const totals = new Float64Array(this.#bounds.length + 1);
    for (const { counts } of this.#cells) counts.forEach((counted, bucket) => (totals[bucket] += counted));
    return totals;
  }

  #fillWords() {
    const totals = this.#totals();
    const fullest = totals.indexOf(Math.max(...totals));
    const all = totals.reduce((sum, counted) => sum + counted, 0);
    QUANTILES.forEach(([q], at) => {
      const value = this.#bounds.length ? quantile(this.#bounds, totals, q) : null;
      setText(this.values[at], value === null ? NONE : latency(value));
    });
    const words = all > 0 ? `${count(all)} requests, most of them ${this.#span(fullest)}` : 'No requests in this time';
    setText(this.frame.summary, words);
    const told = this.values.map((value, at) => `${QUANTILES[at][1]} below ${value.textContent}`).join(', ');
    setAttribute(this.frame.place, 'aria-label', `Heat map. ${words}. ${told}.`);
  }

  #fillTable() {
    if (!this.frame.details.open) return;
    const totals = this.#totals();
    const all = totals.reduce((sum, counted) => sum + counted, 0);
    const rows = [...totals].map((counted, bucket) => [this.#span(bucket), count(counted), percent(all > 0 ? counted / all : null)]);
    fillRows(this.frame.body, rows.filter((_, bucket) => totals[bucket] > 0));
  }
}

/** A bucket's bound without needless places. */
function round(ms) {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

/** From the style sheet's palest to its strongest, over the one in the middle. `share`: 0 to 1. */
function shade(share) {
  const [from, to, at] = share < 0.5 ? ['--heat-low', '--heat-middle', share * 2] : ['--heat-middle', '--heat-high', share * 2 - 1];
  const [start, end] = [parts(from), parts(to)];
  const mixed = [0, 1, 2].map((channel) => Math.round(start[channel] + (end[channel] - start[channel]) * at));
  return `rgb(${mixed.join(', ')})`;
}
