/** Time as the page and as the server see it. */

/** Unix milliseconds of this machine, with fractions; never goes back while the page lives. */
export const localNow = () => performance.timeOrigin + performance.now();

/** The server's clock, told from the quickest of the last eight round trips. */
export class ServerClock {
  #samples = [];

  observe(sentAt, receivedAt, serverTimeMs) {
    const sample = { trip: receivedAt - sentAt, offset: serverTimeMs - (sentAt + receivedAt) / 2 };
    this.#samples = [...this.#samples.slice(-7), sample];
  }

  now() {
    if (this.#samples.length === 0) return localNow();
    return localNow() + this.#samples.reduce((a, b) => (b.trip < a.trip ? b : a)).offset;
  }
}
