/** The last latencies as a line of bars: each change is one, the newest on the right. */

const BARS = 60;
const HEIGHT = 36;
const SVG = "http://www.w3.org/2000/svg";

export class Plot {
  #svg;
  #bars = [];

  constructor(svg) {
    this.#svg = svg;
    svg.setAttribute("viewBox", `0 0 ${BARS * 4} ${HEIGHT}`);
    for (let place = 0; place < BARS; place++) {
      const bar = document.createElementNS(SVG, "rect");
      bar.setAttribute("x", place * 4);
      bar.setAttribute("width", 3);
      bar.setAttribute("rx", 1);
      this.#bars.push(bar);
    }
    svg.append(...this.#bars);
  }

  /** Milliseconds, the newest last. The highest bar is the slowest of them, and 20 ms at least. */
  show(samples) {
    const most = Math.max(20, ...samples);
    const first = BARS - samples.length;
    this.#bars.forEach((bar, place) => {
      const height = place < first ? 1 : Math.max(2, (samples[place - first] / most) * HEIGHT);
      bar.setAttribute("y", HEIGHT - height);
      bar.setAttribute("height", height);
      bar.classList.toggle("none", place < first);
    });
    this.#svg.setAttribute("aria-label", `Commit to screen of the last ${samples.length} changes, up to ${Math.round(most)} ms`);
  }
}
