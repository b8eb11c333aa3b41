// The table of services: one row each, sorted and filtered as the reader wants it, kept in place while it is read.

import { byId, el, setAttribute, setText } from './dom.js';
import { bytes, count, latency, percent, serviceName, short } from './format.js';

const NAME = 'name';
/** Each gives a number to sort by (null for none) and how it is shown. */
const COLUMNS = [
  { key: 'rate', label: 'Req/s', title: 'Requests a second', show: short },
  { key: 'errors', label: '5xx', title: 'Share of requests answered with a status from 500 on', show: percent },
  { key: 'refused', label: '4xx', title: 'Share of requests answered with a status from 400 to 499', show: percent },
  { key: 'p50', label: 'p50', title: 'Half of the requests took no longer', show: latency },
  { key: 'p90', label: 'p90', title: '90 % of the requests took no longer', show: latency },
  { key: 'p99', label: 'p99', title: '99 % of the requests took no longer', show: latency },
  { key: 'upstream', label: 'Upstream p90', title: '90 % of the requests waited no longer for the upstream', show: latency },
  { key: 'kong', label: 'Gateway p90', title: '90 % of the requests took the gateway itself no longer', show: latency },
  { key: 'ingress', label: 'In/s', title: 'Bytes of requests a second', show: bytes },
  { key: 'egress', label: 'Out/s', title: 'Bytes of responses a second', show: bytes },
  { key: 'failures', label: 'Failures', title: 'Failed requests since the start, whoever failed', show: count },
  { key: 'total', label: 'Requests', title: 'Requests since the start', show: count },
];

/** A service's address within the page. */
export function address(name) {
  return `#service=${encodeURIComponent(name)}`;
}

/** The table, and what chooses its rows. */
export class ServiceTable {
  #rows = new Map();
  #sort = { key: 'rate', descending: true };
  #figures = [];
  #order = '';

  constructor() {
    this.table = byId('services');
    this.body = this.table.tBodies[0];
    this.filter = byId('filter');
    const heads = [{ key: NAME, label: 'Service', title: 'The name of the service' }, ...COLUMNS];
    this.heads = heads.map((column) => this.#head(column));
    this.table.tHead.append(el('tr', {}, ...this.heads));
    this.filter.addEventListener('input', () => this.#arrange(true));
    this.#showSort();
  }

  #head({ key, label, title }) {
    const button = el('button', { type: 'button', title }, label);
    button.addEventListener('click', () => {
      const descending = this.#sort.key === key ? !this.#sort.descending : key !== NAME;
      this.#sort = { key, descending };
      this.#showSort();
      this.#arrange(true);
    });
    return el('th', { scope: 'col', 'data-key': key, class: key === NAME ? null : 'number' }, button);
  }

  #showSort() {
    const { key, descending } = this.#sort;
    for (const head of this.heads) {
      const order = descending ? 'descending' : 'ascending';
      setAttribute(head, 'aria-sort', head.dataset.key === key ? order : null);
    }
  }

  /**
   * Shows the services' figures.
   *
   * @param {{name: string, recent: Sum, total: Sum}[]} services
   * @param {string | null} chosen the one that the charts show
   */
  update(services, chosen) {
    this.#figures = services.map(figures);
    const most = Math.max(0, ...this.#figures.map(({ rate }) => rate ?? 0));
    for (const figure of this.#figures) {
      const row = this.#rows.get(figure.name) ?? this.#add(figure.name);
      COLUMNS.forEach(({ key, show }, at) => setText(row.cells[at + 1], show(figure[key])));
      row.classList.toggle('failing', figure.errors >= 0.01);
      row.classList.toggle('idle', !(figure.rate > 0));
      row.style.setProperty('--share', most > 0 ? (figure.rate ?? 0) / most : 0);
      setAttribute(row.cells[0].firstChild, 'aria-current', figure.name === chosen ? 'true' : null);
      row.classList.toggle('chosen', figure.name === chosen);
    }
    this.#forget();
    this.#arrange(false);
  }

  #add(name) {
    const link = el('a', { href: address(name) }, serviceName(name));
    const cells = COLUMNS.map(({ key }) => el('td', { 'data-key': key, class: 'number' }));
    const row = el('tr', { 'data-service': name }, el('th', { scope: 'row' }, link), ...cells);
    this.#rows.set(name, row);
    return row;
  }

  /** Those that the agent no longer tells of; it has begun anew. */
  #forget() {
    const names = new Set(this.#figures.map(({ name }) => name));
    for (const [name, row] of this.#rows) {
      if (!names.has(name)) {
        row.remove();
        this.#rows.delete(name);
      }
    }
  }

  /** Puts the rows in order. One that somebody points at or has the focus in stays where it is, unless they asked. */
  #arrange(isAsked) {
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = this.#figures.filter(({ name }) => serviceName(name).toLowerCase().includes(wanted));
    this.#tellCount(shown.length);
    const isBusy = this.body.matches(':hover') || this.body.contains(document.activeElement);
    const isSame = shown.length === this.body.rows.length && shown.every(({ name }) => this.#rows.get(name).isConnected);
    if (isBusy && isSame && !isAsked) return;
    const { key, descending } = this.#sort;
    shown.sort((one, other) => compare(one, other, key) * (descending ? -1 : 1) || (one.name < other.name ? -1 : 1));
    const order = JSON.stringify(shown.map(({ name }) => name));
    if (order === this.#order) return;
    this.#order = order;
    const focused = document.activeElement;
    this.body.replaceChildren(...shown.map(({ name }) => this.#rows.get(name)));
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  #tellCount(shown) {
    const all = this.#figures.length;
    const text = shown === all ? `${count(all)} ${all === 1 ? 'service' : 'services'}` : `${count(shown)} of ${count(all)} services`;
    setText(byId('service-count'), text);
    byId('no-service').hidden = shown > 0;
    setText(byId('no-service'), all > 0 ? 'No service has this in its name.' : 'No requests yet. The first one through the gateway makes its service appear here.');
  }
}

function figures({ name, recent, total }) {
  const requests = recent.requests;
  const share = (part) => (requests > 0 ? part / requests : null);
  return {
    name,
    rate: recent.perSecond(requests),
    errors: share(recent.ofClass(5)),
    refused: share(recent.ofClass(4)),
    p50: recent.quantile('request', 0.5),
    p90: recent.quantile('request', 0.9),
    p99: recent.quantile('request', 0.99),
    upstream: recent.quantile('upstream', 0.9),
    kong: recent.quantile('kong', 0.9),
    ingress: recent.perSecond(recent.ingress),
    egress: recent.perSecond(recent.egress),
    failures: total.allFailures,
    total: total.requests,
  };
}

/** No number comes below all numbers. */
function compare(one, other, key) {
  if (key === NAME) return serviceName(one.name).localeCompare(serviceName(other.name), undefined, { numeric: true });
  return (one[key] ?? -1) - (other[key] ?? -1);
}
