/** Changes for a screen reader: the latest one, at most every few seconds, with how many were passed over. */

const PAUSE_MS = 5_000;

export class Speaker {
  #element;
  #last = "";
  #waiting = 0;
  #timer = 0;

  /** `element` is a live region. */
  constructor(element) {
    this.#element = element;
  }

  /** The last of `count` changes. */
  say(text, count) {
    this.#last = text;
    this.#waiting += count;
    if (!this.#timer) this.#speak();
  }

  /** Somebody else is listening now. */
  hush() {
    this.#waiting = 0;
    this.#element.textContent = "";
  }

  #speak() {
    this.#timer = 0;
    if (this.#waiting === 0) return;
    const others = this.#waiting - 1;
    this.#element.textContent = this.#last + (others > 0 ? `, and ${others} other changes` : "");
    this.#waiting = 0;
    this.#timer = setTimeout(() => this.#speak(), PAUSE_MS);
  }
}
