/** Changes for a screen reader: the latest one, at most every few seconds, with how many were passed over. */

const PAUSE_MS = 5_000;

export class Speaker {
  #element;
  #waiting = [];
  #timer = 0;

  /** `element` is a live region. */
  constructor(element) {
    this.#element = element;
  }

  say(text) {
    this.#waiting.push(text);
    if (!this.#timer) this.#speak();
  }

  /** Somebody else is listening now. */
  hush() {
    this.#waiting = [];
    this.#element.textContent = "";
  }

  #speak() {
    const others = this.#waiting.length - 1;
    this.#timer = 0;
    if (others < 0) return;
    this.#element.textContent = this.#waiting.at(-1) + (others > 0 ? `, and ${others} other changes` : "");
    this.#waiting = [];
    this.#timer = setTimeout(() => this.#speak(), PAUSE_MS);
  }
}
