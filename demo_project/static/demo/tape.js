/** The last seconds of the page's life: when each event happened, and when the line was cut. */

const SECONDS = 40;
const WIDTH = 400;
const HEIGHT = 44;
const SVG = "http://www.w3.org/2000/svg";
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Tape {
  #svg;
  /** @type {{at: number, late: boolean, tall: boolean}[]} */
  #ticks = [];
  /** @type {{from: number, to: number | null}[]} */
  #gaps = [];

  constructor(svg) {
    this.#svg = svg;
    setInterval(() => document.hidden || this.draw(), still.matches ? 1000 : 100);
  }

  /** Note an event at the time when it happened; return whether that was while the line was cut. */
  tick(time, tall) {
    const at = Math.min(Date.parse(time), Date.now());
    const late = this.#gaps.some(({ from, to }) => at >= from && (to === null || at <= to));
    this.#ticks.push({ at, late, tall });
    return late;
  }

  /** Note that the line is cut, or whole again. */
  set cut(cut) {
    const last = this.#gaps.at(-1);
    const open = last?.to === null;
    if (cut && !open) this.#gaps.push({ from: Date.now(), to: null });
    if (!cut && open) last.to = Date.now();
  }

  draw() {
    const now = Date.now();
    const first = now - SECONDS * 1000;
    this.#ticks = this.#ticks.filter(({ at }) => at > first);
    this.#gaps = this.#gaps.filter(({ to }) => to === null || to > first);
    const x = (at) => ((Math.max(at, first) - first) / (SECONDS * 1000)) * WIDTH;
    this.#svg.replaceChildren(
      ...this.#gaps.map(({ from, to }) => rect("gap", x(from), 0, x(to ?? now) - x(from), HEIGHT)),
      ...this.#ticks.map(({ at, late, tall }) => {
        const height = tall ? 30 : 20;
        return rect(late ? "tick-late" : "tick", x(at) - 1.2, (HEIGHT - height) / 2, 2.4, height);
      }),
    );
  }
}

function rect(name, x, y, width, height) {
  const element = document.createElementNS(SVG, "rect");
  element.setAttribute("class", name);
  for (const [key, value] of Object.entries({ x, y, width, height })) element.setAttribute(key, value.toFixed(1));
  return element;
}
