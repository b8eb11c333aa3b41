// What the agent has told so far, as differences between one snapshot and the next. Plain computing: no page, no clock.

/** Whom a failed exchange is put down to, as `GET /snapshot` names them. */
export const FAILURES = ['client', 'gateway', 'upstream', 'network'];
/** The three latencies of an exchange, as `GET /snapshot` names them. */
export const LATENCIES = ['request', 'upstream', 'kong'];

const CLASSES = 5;

/** Where each number of a service lies in the vectors below; one layout for one list of bucket bounds. */
class Layout {
  /** @param {number[]} bounds upper bounds of the latency buckets in ms, without +Inf */
  constructor(bounds) {
    this.bounds = bounds;
    this.failures = CLASSES;
    this.ingress = this.failures + FAILURES.length;
    this.egress = this.ingress + 1;
    this.retries = this.egress + 1;
    this.latencies = this.retries + 1;
    this.latencySize = 2 + bounds.length + 1;
    this.size = this.latencies + LATENCIES.length * this.latencySize;
  }

  /** Where the sum of a latency lies; its count and its buckets, each for itself, follow. */
  latency(kind) {
    return this.latencies + LATENCIES.indexOf(kind) * this.latencySize;
  }

  /** A service's counters as a vector. */
  vector(service) {
    const vector = new Float64Array(this.size);
    for (const [code, count] of Object.entries(service.codes)) {
      vector[Math.min(Math.max(Math.floor(Number(code) / 100), 1), CLASSES) - 1] += count;
    }
    FAILURES.forEach((by, at) => {
      vector[this.failures + at] = service.failures?.[by] ?? 0;
    });
    vector[this.ingress] = service.bandwidth.ingress;
    vector[this.egress] = service.bandwidth.egress;
    vector[this.retries] = service.retries ?? 0;
    for (const kind of LATENCIES) {
      this.#putLatency(vector, this.latency(kind), service.latency[kind]);
    }
    return vector;
  }

  #putLatency(vector, at, histogram) {
    vector[at] = histogram.sum;
    vector[at + 1] = histogram.count;
    let below = 0;
    histogram.buckets.forEach((cumulative, bucket) => {
      vector[at + 2 + bucket] = cumulative - below;
      below = cumulative;
    });
  }
}

/** What happened in some span of time, of one service or of all. */
export class Sum {
  /** @param {ArrayLike<number>} vector laid out by `layout`; `seconds`: how long the span was */
  constructor(layout, vector, seconds) {
    this.layout = layout;
    this.vector = vector;
    this.seconds = seconds;
  }

  /** Exchanges whose status is in the hundred `family` (1 to 5). */
  ofClass(family) {
    return this.vector[family - 1];
  }

  /** All exchanges. */
  get requests() {
    let sum = 0;
    for (let family = 0; family < CLASSES; family += 1) sum += this.vector[family];
    return sum;
  }

  /** Failed exchanges by the one of `FAILURES` that they are put down to. */
  failures(by) {
    return this.vector[this.layout.failures + FAILURES.indexOf(by)];
  }

  /** Failed exchanges, whoever failed. */
  get allFailures() {
    return FAILURES.reduce((sum, by) => sum + this.failures(by), 0);
  }

  /** Bytes of requests. */
  get ingress() {
    return this.vector[this.layout.ingress];
  }

  /** Bytes of responses. */
  get egress() {
    return this.vector[this.layout.egress];
  }

  /** Tries of another target. */
  get retries() {
    return this.vector[this.layout.retries];
  }

  /** How many exchanges a latency was taken of. */
  timed(kind) {
    return this.vector[this.layout.latency(kind) + 1];
  }

  /** All of a latency together, in ms. */
  milliseconds(kind) {
    return this.vector[this.layout.latency(kind)];
  }

  /** `count` per second; null for no time. */
  perSecond(count) {
    return this.seconds > 0 ? count / this.seconds : null;
  }

  /** The mean of a latency in ms over all exchanges, so that upstream and kong add up to request; null without any. */
  meanOfAll(kind) {
    const all = this.timed('request');
    return all > 0 ? this.milliseconds(kind) / all : null;
  }

  /** Counts of each bucket of a latency. */
  buckets(kind) {
    const first = this.layout.latency(kind) + 2;
    return this.vector.subarray(first, first + this.layout.bounds.length + 1);
  }

  /** The latency in ms that a share `q` of exchanges stays below; null without any. */
  quantile(kind, q) {
    return quantile(this.layout.bounds, this.buckets(kind), q);
  }
}

/** As Prometheus reckons it: evenly spread within a bucket, and the last bound for what lies beyond it. */
export function quantile(bounds, counts, q) {
  let total = 0;
  for (const count of counts) total += count;
  if (total <= 0) return null;
  const rank = q * total;
  let below = 0;
  for (let bucket = 0; bucket < bounds.length; bucket += 1) {
    if (below + counts[bucket] >= rank && counts[bucket] > 0) {
      const lower = bucket === 0 ? 0 : bounds[bucket - 1];
      return lower + (bounds[bucket] - lower) * Math.max(0, (rank - below) / counts[bucket]);
    }
    below += counts[bucket];
  }
  return bounds[bounds.length - 1];
}

/** The ticks between snapshots, for as long as `keepSeconds`. */
export class History {
  #ticks = [];
  #layout = null;
  #before = new Map();
  #last = null;
  #added = 0;

  constructor(keepSeconds) {
    this.keepSeconds = keepSeconds;
  }

  /** The last snapshot; null before the first. */
  get last() {
    return this.#last;
  }

  /** Times of the first and the last snapshot kept, in seconds. */
  get span() {
    const ticks = this.#ticks;
    return ticks.length ? [ticks[0].time, ticks[ticks.length - 1].time] : null;
  }

  /** Takes the next snapshot in. After a restart of the agent counting begins anew, with a gap in between. */
  add(snapshot) {
    const isNew = this.#last === null || snapshot.started_ms !== this.#last.started_ms || !this.#fits(snapshot);
    if (isNew) {
      this.#begin(snapshot);
    } else if (snapshot.time_ms <= this.#last.time_ms) {
      return;
    }
    const time = snapshot.time_ms / 1000;
    const tick = { time, seconds: isNew ? 0 : time - this.#last.time_ms / 1000, services: new Map(), all: null };
    tick.all = new Float64Array(this.#layout.size);
    tick.index = this.#added++;
    tick.connections = snapshot.connections;
    for (const service of snapshot.services) {
      const now = this.#layout.vector(service);
      if (!isNew) this.#note(tick, service.name, now);
      this.#before.set(service.name, now);
    }
    this.#ticks.push(tick);
    while (this.#ticks[0].time < time - this.keepSeconds) this.#ticks.shift();
    this.#last = snapshot;
  }

  #fits(snapshot) {
    const bounds = this.#layout.bounds;
    return snapshot.latency_bounds_ms.length === bounds.length;
  }

  #begin(snapshot) {
    this.#layout = new Layout(snapshot.latency_bounds_ms);
    this.#before.clear();
    if (this.#ticks.some((tick) => tick.all.length !== this.#layout.size)) this.#ticks = [];
  }

  /** A service that was idle takes no room. */
  #note(tick, name, now) {
    const before = this.#before.get(name);
    let moved = false;
    const grown = new Float32Array(now.length);
    for (let at = 0; at < now.length; at += 1) {
      const by = Math.max(0, now[at] - (before === undefined ? 0 : before[at]));
      if (by > 0) {
        moved = true;
        grown[at] = by;
        tick.all[at] += by;
      }
    }
    if (moved) tick.services.set(name, grown);
  }

  /** What has been counted since the agent's start: of a service, or of all (`scope` null). */
  total(scope) {
    if (scope !== null) {
      return new Sum(this.#layout, this.#before.get(scope) ?? new Float64Array(this.#layout.size), 0);
    }
    const vector = new Float64Array(this.#layout.size);
    for (const counted of this.#before.values()) counted.forEach((count, at) => (vector[at] += count));
    return new Sum(this.#layout, vector, 0);
  }

  /** What happened in the last `seconds`, of a service or of all (`scope` null). */
  recent(scope, seconds) {
    const vector = new Float64Array(this.#layout.size);
    const end = this.#ticks[this.#ticks.length - 1]?.time ?? 0;
    let covered = 0;
    for (let at = this.#ticks.length - 1; at >= 0 && covered + this.#ticks[at].seconds / 2 < seconds; at -= 1) {
      const tick = this.#ticks[at];
      if (end - tick.time >= seconds) break;
      covered += tick.seconds;
      const grown = scope === null ? tick.all : tick.services.get(scope);
      if (grown !== undefined) for (let field = 0; field < grown.length; field += 1) vector[field] += grown[field];
    }
    return new Sum(this.#layout, vector, covered);
  }

  /**
   * Each tick from `start` (seconds) on: its time, its `Sum` (null where counting began anew), its connections, and how
   * many ticks there ever were before it.
   */
  ticks(scope, start) {
    const idle = new Float32Array(this.#layout?.size ?? 0);
    const chosen = this.#ticks.filter((tick) => tick.time >= start);
    return chosen.map((tick) => {
      const grown = scope === null ? tick.all : (tick.services.get(scope) ?? idle);
      const sum = tick.seconds > 0 ? new Sum(this.#layout, grown, tick.seconds) : null;
      return { time: tick.time, sum, connections: tick.connections, index: tick.index };
    });
  }
}
