// Asks for snapshots, one after the other, and shows them. Nothing here changes anything on the agent.

import { byId, setAttribute, setText } from './dom.js';
import { duration, serviceName, timeOfDay } from './format.js';
import { History } from './history.js';
import { Overview } from './overview.js';
import { Charts } from './charts.js';
import { ServiceTable } from './services.js';
import * as theme from './theme.js';

/** The longest choice of what to show. */
const KEPT_SECONDS = 900;
/** What rates and quantiles outside the charts are taken over. */
const WINDOW_SECONDS = 30;
const TIMEOUT_MS = 10_000;
/** Between one answer and the next question; many services are asked for less often, and nobody looks at a hidden page. */
const EVERY_MS = 2_000;
const EVERY_MS_OF_MANY = 5_000;
const MANY_SERVICES = 300;
const EVERY_MS_HIDDEN = 10_000;

// Without credentials that may stand in the page's own address, which `fetch` would refuse; the browser sends them anyway.
const SNAPSHOT = new URL('snapshot', location.origin + location.pathname);

const history = new History(KEPT_SECONDS);
const charts = new Charts();
const overview = new Overview();
const services = new ServiceTable();
let isPaused = false;

/** The service that the page's address names; null for all. */
function scope() {
  const encoded = /^#service=(.*)$/.exec(location.hash)?.[1];
  if (encoded === undefined) return null;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return null;
  }
}

async function ask() {
  try {
    const response = await fetch(SNAPSHOT, { cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`the observer answered ${response.status}: ${await refusal(response)}`);
    history.add(await response.json());
    tellTrouble(null);
  } catch (error) {
    tellTrouble(error);
  }
  if (!isPaused) show();
  setTimeout(ask, wait());
}

function wait() {
  if (document.hidden) return EVERY_MS_HIDDEN;
  return (history.last?.services.length ?? 0) > MANY_SERVICES ? EVERY_MS_OF_MANY : EVERY_MS;
}

/** What a refusal says of itself: a JSON message, or nothing. */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return body.message ?? response.statusText;
}

function tellTrouble(error) {
  const trouble = byId('trouble');
  document.body.classList.toggle('stale', error !== null);
  if (error === null) {
    trouble.hidden = true;
    return;
  }
  const since = history.last === null ? '' : ` What is shown is from ${timeOfDay(history.last.time_ms / 1000)}.`;
  setText(trouble, `No news from the observer (${error.message}); asking again.${since}`);
  trouble.hidden = false;
}

function show() {
  const snapshot = history.last;
  if (snapshot === null) return;
  const chosen = scope();
  setText(byId('where'), `${snapshot.host} · ${gateways(snapshot)}`);
  setText(byId('state'), state(snapshot));
  setText(byId('about'), about(snapshot));
  const name = chosen === null ? 'All services' : serviceName(chosen);
  setText(byId('charts-heading'), name);
  document.title = `${name} · observer · ${snapshot.host}`;
  byId('all').hidden = chosen === null;
  overview.update(history, chosen, WINDOW_SECONDS);
  charts.update(history, chosen, Number(byId('range').value));
  services.update(snapshot.services.map(({ name: service }) => ({
    name: service,
    recent: history.recent(service, WINDOW_SECONDS),
    total: history.total(service),
  })), chosen);
}

function state(snapshot) {
  if (snapshot.enabled === false) return 'Disabled: nothing is counted';
  return isPaused ? 'Paused' : 'Live';
}

function gateways({ gateways: all }) {
  if (all.length === 0) return 'no gateway yet';
  const one = ({ name, workers }) => `${name}, ${workers} ${workers === 1 ? 'worker' : 'workers'}`;
  return all.length <= 3 ? all.map(one).join(' · ') : `${all.length} gateways`;
}

function about({ version, started_ms: started, time_ms: now, observer }) {
  const share = observer.cpu_seconds / Math.max(1, (now - started) / 1000);
  return `observer ${version}, up ${duration((now - started) / 1000)}, ${(share * 100).toFixed(1)} % of a CPU on average, `
    + `${Math.round(observer.resident_bytes / 1e6)} MB of memory.`;
}

byId('range').addEventListener('change', show);
byId('pause').addEventListener('click', () => {
  isPaused = !isPaused;
  setAttribute(byId('pause'), 'aria-pressed', isPaused);
  if (isPaused && history.last !== null) setText(byId('state'), state(history.last));
  else show();
});
window.addEventListener('hashchange', () => {
  if (!/^#(all|service=.*)?$/.test(location.hash)) return;
  show();
  byId('charts-heading').focus();
  byId('charts-heading').scrollIntoView();
});
theme.setUp(() => charts.redraw());
ask();
