// The charts of the page, and which numbers they show.

import { byId } from './dom.js';
import { StackedChart } from './chart.js';
import { HeatMap } from './heatmap.js';
import { count, latency, percent, short } from './format.js';

/** The axis of time begins no later than this before its end, however young the page is. */
const SHORTEST_SECONDS = 20;

/** All charts. */
export class Charts {
  constructor() {
    this.rate = new StackedChart(byId('chart-rate'), [
      { label: '2xx', colour: '--good' },
      { label: '3xx', colour: '--moved' },
      { label: '4xx', colour: '--refused' },
      { label: '5xx', colour: '--failed' },
    ], short);
    this.errors = new StackedChart(byId('chart-errors'), [
      { label: 'client', colour: '--refused' },
      { label: 'gateway', colour: '--kong' },
      { label: 'upstream', colour: '--failed' },
      { label: 'network', colour: '--moved' },
    ], short);
    this.split = new StackedChart(byId('chart-split'), [
      { label: 'upstream', colour: '--upstream' },
      { label: 'gateway', colour: '--kong' },
    ], latency);
    this.connections = new StackedChart(byId('chart-connections'), [
      { label: 'reading', colour: '--refused' },
      { label: 'writing', colour: '--moved' },
      { label: 'waiting', colour: '--idle' },
    ], count, true);
    this.heat = new HeatMap(byId('chart-heat'));
    this.latest = null;
    byId('heat-kind').addEventListener('change', () => this.#showHeat());
  }

  /** Shows the last `seconds` of a service, or of all (`scope` null). */
  update(history, scope, seconds) {
    const [first, last] = history.span;
    const range = [last - Math.min(seconds, Math.max(SHORTEST_SECONDS, last - first)), last];
    const ticks = history.ticks(scope, range[0]);
    this.latest = { ticks, range, bounds: history.last.latency_bounds_ms };
    const times = ticks.map(({ time }) => time);
    const column = (value) => ticks.map(({ sum }) => (sum === null ? null : value(sum)));

    const rates = [2, 3, 4, 5].map((family) => column((sum) => sum.perSecond(sum.ofClass(family))));
    this.rate.update(times, rates, range, highest(column((sum) => sum.perSecond(sum.requests)), short, '/s'));

    const failed = ['client', 'gateway', 'upstream', 'network'].map((by) => column((sum) => sum.perSecond(sum.failures(by))));
    const requests = total(ticks, (sum) => sum.requests);
    const failures = total(ticks, (sum) => sum.allFailures);
    const share = requests > 0 ? `${percent(failures / requests)} of ${count(requests)} requests failed` : 'No requests in this time';
    this.errors.update(times, failed, range, failures === 0 && requests > 0 ? `None of ${count(requests)} requests failed` : share);

    const upstream = column((sum) => sum.meanOfAll('upstream'));
    const kong = column((sum) => sum.meanOfAll('kong'));
    this.split.update(times, [upstream, kong], range, highest(column((sum) => sum.meanOfAll('request')), latency));

    const states = ['reading', 'writing', 'waiting'].map((state) => ticks.map(({ connections }) => connections[state]));
    this.connections.update(times, states, range, highest(ticks.map(({ connections }) => connections.active), count));
    this.#showHeat();
  }

  #showHeat() {
    if (this.latest === null) return;
    const { ticks, range, bounds } = this.latest;
    this.heat.update(ticks, byId('heat-kind').value, bounds, range);
  }

  /** Draws all again, for other colours. */
  redraw() {
    for (const chart of [this.rate, this.errors, this.split, this.connections, this.heat]) chart.redraw();
  }
}

function total(ticks, value) {
  return ticks.reduce((sum, tick) => sum + (tick.sum === null ? 0 : value(tick.sum)), 0);
}

function highest(values, format, unit = '') {
  const known = values.filter((value) => value !== null);
  return known.length ? `Highest ${format(Math.max(...known))}${unit}` : 'Waiting for the second snapshot';
}
