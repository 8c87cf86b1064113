/** What others do, in words: at the foot of the pane, and aloud. */

import { describe } from "./collections.js";
import { Speaker } from "./speaker.js";

export class News {
  #ticker;
  #speaker;

  /** `onShow(collection, id)`: somebody wants to see the record that the last words are about. */
  constructor(pane, onShow) {
    this.#ticker = pane.querySelector(".ticker");
    this.#speaker = new Speaker(pane.querySelector(".spoken"));
    this.#ticker.addEventListener("click", () => {
      const { collection, id } = this.#ticker.dataset;
      if (id) onShow(collection, id);
    });
  }

  /** The last of `effects`, by `{by, byBranch}`. */
  tell(collection, effects, { by, byBranch }, aloud) {
    const effect = effects.at(-1);
    const words = `${by} ${describe(collection, effect)}`;
    Object.assign(this.#ticker.dataset, { branch: byBranch, collection: collection.name, id: effect.id });
    this.#ticker.firstElementChild.textContent = words;
    if (aloud) this.#speaker.say(words, effects.length);
  }

  say(words) {
    this.#speaker.say(words, 1);
  }

  clear() {
    for (const name of Object.keys(this.#ticker.dataset)) delete this.#ticker.dataset[name];
    this.#ticker.firstElementChild.textContent = "";
    this.#speaker.hush();
  }
}
