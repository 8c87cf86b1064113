/** The calm word about the line: its state, and how long changes take from commit to screen. */

import { formatMs } from "./latency.js";
import { Plot } from "./plot.js";
import { sentence } from "./words.js";

export class Pill {
  #details;
  #text;
  #facts = null;
  #plot;
  #$ = (selector) => this.#details.querySelector(selector);

  constructor(details, { onSwitch }) {
    this.#details = details;
    this.#text = this.#$(".pill-text");
    this.#plot = new Plot(this.#$(".plot"));
    this.#$(".offline").addEventListener("change", ({ target }) => onSwitch(target.checked));
    details.addEventListener("toggle", () => this.#draw());
    details.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !details.open) return;
      details.open = false;
      this.#$("summary").focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!details.contains(target)) details.open = false;
    });
  }

  /** `facts` are `{line: {state, words}, reason, latency, position, pending}`. */
  show(facts) {
    this.#facts = facts;
    const { line, latency, pending, reason } = facts;
    const more = line.state === "live" && latency.now !== null ? formatMs(latency.now) : pending > 0 && `${pending} to send`;
    const words = more ? `${line.words} · ${more}` : line.words;
    if (this.#text.textContent !== words) this.#text.textContent = words;
    this.#details.dataset.state = line.state;
    this.#$("summary").title = reason ? sentence(reason) : "How this person’s line is doing";
    this.#draw();
  }

  #draw() {
    if (!this.#details.open || !this.#facts) return;
    const { line, latency, position, pending, reason } = this.#facts;
    const { count, median, slowest } = latency;
    const measured = count > 0 ? `median ${formatMs(median)}, slowest ${formatMs(slowest)} of ${count}` : "no change yet";
    this.#$(".fact-latency").textContent = measured;
    this.#$(".fact-position").textContent = position ? position.offset.toLocaleString("en") : "none yet";
    this.#$(".fact-pending").textContent = pending === 0 ? "nothing" : `${pending} ${pending === 1 ? "change" : "changes"}`;
    this.#$(".fact-reason").textContent = line.state === "live" || !reason ? "" : sentence(reason);
    this.#$(".offline").checked = line.state === "idle";
    this.#plot.show(latency.samples);
  }
}
