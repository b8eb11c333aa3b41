// Everything that is one number or a small table: tiles, statuses, totals, targets, the gauge, what was lost.

import { byId, fillRows, setAttribute, setText } from './dom.js';
import { bytes, count, latency, percent, short, words } from './format.js';
import { FAILURES, LATENCIES } from './history.js';

const STATES = ['reading', 'writing', 'waiting'];

/** What each list of `loss` in a snapshot holds. */
const KINDS = [
  ['records', 'a record of the kernel part that did not arrive'],
  ['unobserved', 'not followed to its end, so not counted'],
  ['filtered', 'seen whole, left out on purpose'],
  ['inferred', 'counted by a rule, as no byte told its status or length'],
  ['uncertain', 'counted with a documented default'],
];

/** The numbers beside the charts. */
export class Overview {
  /** Shows a service, or all (`scope` null); rates and quantiles over the last `seconds`. */
  update(history, scope, seconds) {
    const snapshot = history.last;
    const recent = history.recent(scope, seconds);
    const total = history.total(scope);
    const chosen = snapshot.services.filter(({ name }) => scope === null || name === scope);
    const covered = recent.seconds > 0 ? Math.min(seconds, Math.round(recent.seconds)) : seconds;
    setText(byId('window'), `${covered} s`);
    tiles(recent, total);
    loss(snapshot);
    codes(chosen);
    totals(total);
    targets(scope, chosen);
    gauge(snapshot.connections);
  }
}

function tiles(recent, total) {
  const requests = recent.requests;
  const share = (part) => (requests > 0 ? part / requests : null);
  const rate = (value) => short(recent.perSecond(value));
  const failing = share(recent.ofClass(5));
  setText(byId('tile-rate'), `${rate(requests)}/s`);
  setText(byId('tile-total'), `${count(total.requests)} since the start`);
  setText(byId('tile-errors'), percent(failing));
  byId('tile-of-errors').classList.toggle('bad', failing >= 0.01);
  setText(byId('tile-refused'), `4xx: ${percent(share(recent.ofClass(4)))}`);
  setText(byId('tile-p50'), latency(recent.quantile('request', 0.5)));
  setText(byId('tile-p90'), `90 %: ${latency(recent.quantile('request', 0.9))}`);
  setText(byId('tile-p99'), latency(recent.quantile('request', 0.99)));
  setText(byId('tile-split'), `upstream ${latency(recent.quantile('upstream', 0.99))}`);
  setText(byId('tile-egress'), `${bytes(recent.perSecond(recent.egress))}/s`);
  setText(byId('tile-ingress'), `in: ${bytes(recent.perSecond(recent.ingress))}/s`);
}

function loss({ loss: lost, unattributed }) {
  setText(byId('tile-loss'), count(lost.errors));
  byId('tile-of-loss').classList.toggle('bad', lost.errors > 0);
  const isWhole = lost.errors === 0;
  setText(byId('tile-loss-words'), isWhole ? 'the numbers are whole' : 'lower bounds: see below');
  setText(byId('loss-words'), isWhole
    ? 'Nothing was lost: every number here is whole.'
    : `${count(lost.errors)} lost: the numbers here are lower bounds. They are kong_nginx_metric_errors_total in the metrics.`);
  const rows = KINDS.flatMap(([kind, meaning]) => entries(lost[kind]).map(([reason, counted]) => [words(reason), meaning, count(counted)]));
  for (const [code, counted] of entries(unattributed)) {
    rows.push([`status ${code}`, 'no service is known for it', count(counted)]);
  }
  byId('loss').hidden = rows.length === 0;
  fillRows(byId('loss').tBodies[0], rows);
}

/** Those above 0, the greatest first. */
function entries(counts) {
  return Object.entries(counts ?? {}).filter(([, counted]) => counted > 0).sort(([, one], [, other]) => other - one);
}

function codes(services) {
  const sums = new Map();
  for (const service of services) {
    for (const [code, counted] of Object.entries(service.codes)) sums.set(code, (sums.get(code) ?? 0) + counted);
  }
  const all = [...sums.values()].reduce((sum, counted) => sum + counted, 0);
  const rows = [...sums].sort().map(([code, counted]) => [code, count(counted), percent(counted / all)]);
  fillRows(byId('codes'), rows);
}

function totals(total) {
  const rows = [['Requests', count(total.requests)], ['Ingress bytes', count(total.ingress)], ['Egress bytes', count(total.egress)]];
  const named = { request: 'Whole request', upstream: 'Upstream', kong: 'Gateway' };
  for (const kind of LATENCIES) {
    rows.push([`${named[kind]}, requests timed`, count(total.timed(kind))], [`${named[kind]}, ms in all`, count(total.milliseconds(kind))]);
  }
  rows.push(['Retries', count(total.retries)]);
  for (const by of FAILURES) rows.push([`Failures by ${by}`, count(total.failures(by))]);
  fillRows(byId('totals'), rows);
}

function targets(scope, services) {
  byId('targets-card').hidden = scope === null;
  const all = scope === null ? [] : services.flatMap((service) => service.targets);
  const rows = all.map(({ target, codes: statuses, failures_in_a_row: failures }) => {
    const each = Object.entries(statuses).sort();
    const tries = each.reduce((sum, [, counted]) => sum + counted, 0);
    return [target, count(tries), each.map(([code, counted]) => `${code}: ${count(counted)}`).join(', '), count(failures)];
  });
  fillRows(byId('targets'), rows);
}

function gauge(connections) {
  const all = Math.max(1, STATES.reduce((sum, state) => sum + connections[state], 0));
  STATES.forEach((state, at) => {
    byId('gauge').children[at].style.setProperty('--part', connections[state] / all);
  });
  const told = STATES.map((state) => `${count(connections[state])} ${state}`).join(', ');
  setAttribute(byId('gauge'), 'aria-label', `${count(connections.active)} connections: ${told}`);
  const rows = ['active', ...STATES, 'accepted', 'handled', 'total'].map((state) => {
    return [state === 'total' ? 'requests' : state, count(connections[state])];
  });
  fillRows(byId('connections'), rows);
}
