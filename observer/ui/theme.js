// Light and dark: as the system says, or as the reader chose. And the style sheet's colours for what is drawn.

import { byId } from './dom.js';

const KEY = 'observer-theme';
const CHOICES = ['auto', 'light', 'dark'];

/** Sets the switch up; `changed` is called whenever the page's colours are others. */
export function setUp(changed) {
  const apply = (choice) => {
    document.documentElement.dataset.theme = choice;
    colours.clear();
    changed();
  };
  const first = remembered();
  for (const input of byId('theme').querySelectorAll('input')) {
    input.checked = input.value === first;
    input.addEventListener('change', () => {
      remember(input.value);
      apply(input.value);
    });
  }
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  system.addEventListener('change', () => apply(document.documentElement.dataset.theme));
  apply(first);
}

const colours = new Map();

/** The colour of a variable of the style sheet as red, green, blue and alpha (0 to 255, alpha 0 to 1). */
export function parts(variable) {
  if (!colours.has(variable)) {
    // A variable itself is not resolved, a property that uses it is.
    const probe = byId('colour-probe');
    probe.style.color = `var(${variable})`;
    const numbers = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    colours.set(variable, [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1]);
  }
  return colours.get(variable);
}

/** The colour of a variable for a canvas; `alpha` makes it fainter. */
export function colour(variable, alpha = 1) {
  const [red, green, blue, own] = parts(variable);
  return `rgba(${red}, ${green}, ${blue}, ${own * alpha})`;
}

/** A browser may keep nothing for this page; then the choice lasts as long as the page. */
function remembered() {
  try {
    const choice = localStorage.getItem(KEY);
    return CHOICES.includes(choice) ? choice : 'auto';
  } catch {
    return 'auto';
  }
}

function remember(choice) {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // Nothing to be done.
  }
}
