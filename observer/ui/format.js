// Numbers and times as people read them.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** What stands where there is no number. */
export const NONE = '–';

/** All digits, in groups of three. */
export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** Three digits, with k or M where there are many. */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (value >= 999_500) return `${digits(value / 1e6)}M`;
  if (value >= 9_995) return `${digits(value / 1e3)}k`;
  return value >= 999.5 ? whole.format(value) : digits(value);
}

function digits(value) {
  if (value === 0) return '0';
  if (value < 0.005) return '<0.01';
  const places = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(places);
}

/** A latency: `ms` below a second, `s` from there on. */
export function latency(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return NONE;
  return ms >= 999.5 ? `${digits(ms / 1000)} s` : `${digits(ms)} ms`;
}

/** A share as a percentage. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return NONE;
  const value = share * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '<0.01 %';
  return `${value >= 9.95 ? value.toFixed(0) : value >= 0.995 ? value.toFixed(1) : value.toFixed(2)} %`;
}

/** Bytes in units of 1,000. */
export function bytes(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(rest) : digits(rest)} ${units[unit]}`;
}

/** The same without places that are all 0, for the labels of an axis. */
export function onAxis(format) {
  return (value) => format(value).replace(/(\.\d*?)0+(?!\d)/, '$1').replace(/\.(?!\d)/, '');
}

/** The time of day of a moment in seconds, in the reader's zone. */
export function timeOfDay(seconds) {
  return clock.format(new Date(seconds * 1000));
}

/** A length of time in its two greatest units. */
export function duration(seconds) {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return '0 s';
  const parts = [];
  let rest = Math.floor(seconds);
  for (const [name, size] of units.slice(first, first + 2)) {
    if (rest >= size) parts.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return parts.join(' ');
}

/** A service's name; the empty one is for requests that belong to none. */
export function serviceName(name) {
  return name === '' ? '(no service)' : name;
}

/** A label's value as words. */
export function words(label) {
  return label.replaceAll('_', ' ');
}
