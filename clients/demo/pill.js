/** The calm word about the line: its state, and how long changes take from commit to screen. */

import { localNow } from "./clock.js";
import { formatMs } from "./latency.js";

export const WORDS = {
  connecting: "Connecting",
  "catching-up": "Catching up",
  live: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
  stopped: "Unplugged",
};

export class Pill {
  #details;
  #text;
  #live = null;
  #latency = null;
  #$ = (selector) => this.#details.querySelector(selector);

  constructor(details, { onPlug }) {
    this.#details = details;
    this.#text = this.#$(".pill-text");
    this.#$(".plug").addEventListener("click", onPlug);
    details.addEventListener("toggle", () => this.#tick());
    details.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !details.open) return;
      details.open = false;
      this.#$("summary").focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!details.contains(target)) details.open = false;
    });
  }

  show(live, latency) {
    this.#live = live;
    this.#latency = latency;
    const ms = latency.now;
    const words = live.state === "live" && ms !== null ? `Live · ${formatMs(ms)}` : WORDS[live.state];
    if (this.#text.textContent !== words) this.#text.textContent = words;
    this.#details.dataset.state = live.state;
    this.#$("summary").title = live.reason || "How this person’s line is doing";
    if (this.#details.open) this.#facts();
  }

  #tick() {
    if (!this.#details.open || !this.#live) return;
    this.#facts();
    setTimeout(() => this.#tick(), 1_000);
  }

  #facts() {
    const { position, state, heardAt, reason } = this.#live;
    const { count, median, slowest } = this.#latency;
    const latency = count > 0 ? `median ${formatMs(median)}, slowest ${formatMs(slowest)} of ${count}` : "no change yet";
    this.#$(".fact-latency").textContent = latency;
    this.#$(".fact-position").textContent = position ? position.offset.toLocaleString("en") : "none yet";
    const seconds = Math.floor((localNow() - heardAt) / 1000);
    this.#$(".fact-heard").textContent = reason || `${seconds} s ago`;
    this.#$(".plug").textContent = state === "stopped" ? "Plug it in again" : "Pull the plug";
  }
}
