// A card with a chart over time: heading, legend with values, the drawing, and the same figures as words and as a table.

import { el, fillRows, setAttribute, setText } from './dom.js';
import { NONE, onAxis, timeOfDay } from './format.js';
import { colour } from './theme.js';

const FONT = '12px system-ui, sans-serif';
/** How strong an area is, beside the line above it. */
const FILL = 0.32;
/** Between labels on the axis of time, in seconds. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
/** Between labels of an axis of whole numbers, and how far that goes at least. */
const WHOLE_STEPS = [1, 2, 5].flatMap((first) => [0, 1, 2, 3, 4, 5].map((power) => first * 10 ** power)).sort((one, other) => one - other);
const WHOLE_LEAST = 4;
/** Rows of the table below a chart; the newest come first. */
const TABLE_ROWS = 30;

/** What all drawings have in common; `range` gives the first and the last second to show. */
export function drawing(range, formatValue, valueAxis = {}) {
  const text = () => colour('--muted');
  const grid = { stroke: () => colour('--grid'), width: 1 };
  return {
    legend: { show: false },
    padding: [8, 26, 0, 0],
    cursor: { sync: { key: 'observer' }, drag: { x: false, y: false }, points: { size: 6 } },
    axes: [
      {
        stroke: text, font: FONT, grid: { show: false }, ticks: { stroke: () => colour('--grid'), size: 4 }, space: 64, size: 30,
        incrs: TIME_STEPS, values: (_, splits) => splits.map(timeOfDay),
      },
      { stroke: text, font: FONT, grid, ticks: { show: false }, size: 58, space: 32, values: (_, splits) => splits.map(formatValue), ...valueAxis },
    ],
    scales: { x: { time: true, range } },
  };
}

/** Draws into `place` and keeps the drawing as large as it. */
export function mount(place, options, data) {
  const size = () => ({ width: Math.max(120, place.clientWidth), height: Math.max(80, place.clientHeight) });
  const plot = new window.uPlot({ ...options, ...size() }, data, place);
  new ResizeObserver(() => plot.setSize(size())).observe(place);
  return plot;
}

/** The frame that every card with a drawing has, built into an empty figure with an `h3`. */
export function frame(figure) {
  const heading = figure.querySelector('h3');
  const head = el('figcaption', {}, ...figure.children, el('p', { class: 'summary' }));
  const place = el('div', { class: 'plot', role: 'img', 'aria-label': heading.textContent });
  const body = el('tbody');
  const table = el('table', { class: 'figures' }, el('caption', { class: 'unseen' }, heading.textContent), el('thead'), body);
  const scroll = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${heading.textContent}, figures` }, table);
  const details = el('details', {}, el('summary', {}, 'Figures as a table'), scroll);
  const legend = el('ul', { class: 'legend' });
  figure.append(head, legend, place, details);
  figure.setAttribute('aria-labelledby', heading.id);
  return { summary: head.querySelector('.summary'), place, details, legend, body, head: table.tHead };
}

/** A legend's line: a sample of the colour, a name, and a value that changes. */
export function legendItem(legend, label, variable) {
  const sample = el('span', { class: 'sample', 'aria-hidden': 'true' });
  sample.style.setProperty('--sample', `var(${variable})`);
  const value = el('span', { class: 'value' }, NONE);
  legend.append(el('li', {}, sample, `${label} `, value));
  return value;
}

/** A line of this colour. */
export function line(variable) {
  return { stroke: () => colour(variable), width: 1.5, points: { show: false } };
}

/** Values over time, stacked upon each other. */
export class StackedChart {
  #range = [0, 1];
  #times = [];
  #columns = [];

  /**
   * @param {HTMLElement} figure an empty figure with a heading
   * @param {{label: string, colour: string}[]} series from the bottom up
   * @param {(value: number) => string} format for values
   * @param {boolean} isWhole whether there are whole numbers only, on the axis as well
   */
  constructor(figure, series, format, isWhole = false) {
    this.series = series;
    this.format = format;
    this.frame = frame(figure);
    this.values = series.map(({ label, colour: variable }) => legendItem(this.frame.legend, label, variable));
    this.frame.head.append(el('tr', {}, ...['Time', ...series.map(({ label }) => label)].map((label) => el('th', { scope: 'col' }, label))));
    this.frame.details.addEventListener('toggle', () => this.#fillTable());
    const options = drawing(() => this.#range, onAxis(format), isWhole ? { incrs: WHOLE_STEPS } : {});
    const least = isWhole ? WHOLE_LEAST : 0;
    options.scales.y = { range: (_, __, highest) => [0, Math.max(highest * 1.08, least) || 1] };
    // Drawn from the top down: where nothing is stacked upon a line, its own colour is what shows.
    const down = [...series].reverse();
    options.series = [{}, ...down.map(({ colour: variable }) => line(variable))];
    options.series[series.length].fill = () => colour(series[0].colour, FILL);
    options.bands = down.slice(1).map((_, at) => ({ series: [at + 1, at + 2], fill: () => colour(down[at].colour, FILL) }));
    options.hooks = { setCursor: [(plot) => this.#fillLegend(plot.cursor.idx)] };
    this.plot = mount(this.frame.place, options, [[], ...series.map(() => [])]);
  }

  /** Shows `columns` (one an entry of the series; null for a gap) at `times` within `range`, all in seconds. */
  update(times, columns, range, summary) {
    this.#times = times;
    this.#columns = columns;
    this.#range = range;
    const stacked = [];
    columns.forEach((column, at) => {
      stacked.push(at === 0 ? column : column.map((value, tick) => (value === null ? null : value + stacked[at - 1][tick])));
    });
    this.plot.setData([times, ...stacked.reverse()]);
    this.#fillLegend(this.plot.cursor.idx);
    setText(this.frame.summary, summary);
    setAttribute(this.frame.place, 'aria-label', this.#words(summary));
    this.#fillTable();
  }

  /** Draws it again, for other colours. */
  redraw() {
    this.plot.redraw(false);
  }

  /** The values under the cursor, else the last ones. */
  #fillLegend(cursor) {
    const at = cursor ?? this.#times.length - 1;
    this.values.forEach((place, series) => setText(place, this.#show(series, at)));
  }

  #show(series, at) {
    const value = this.#columns[series]?.[at];
    return value === null || value === undefined ? NONE : this.format(value);
  }

  #words(summary) {
    const last = this.#times.length - 1;
    const now = this.series.map(({ label }, at) => `${label} ${this.#show(at, last)}`).join(', ');
    return `Chart. Now: ${now}. ${summary}`;
  }

  #fillTable() {
    if (!this.frame.details.open) return;
    const newest = this.#times.map((_, at) => at).slice(-TABLE_ROWS).reverse();
    fillRows(this.frame.body, newest.map((at) => [timeOfDay(this.#times[at]), ...this.series.map((_, series) => this.#show(series, at))]));
  }
}
