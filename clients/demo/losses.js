/** Values of this person's that others have replaced: mine, theirs, and which of them it shall be. */

import { COLLECTIONS, fieldWords, specOf } from "./collections.js";
import { textOf } from "./inputs.js";
import { capitalised } from "./words.js";

const template = document.getElementById("loss");
const NARROW_PX = 540; // of a pane, as in review.css

export class Losses {
  #pane;
  #element;
  #items = new Map(); // id → its element
  #areSeveral = false;
  #$ = (selector) => this.#element.querySelector(selector);

  /** `pane` gives the client, the records and the names. */
  constructor(pane, element) {
    this.#pane = pane;
    this.#element = element;
    element.addEventListener("pointerleave", () => pane.draw());
  }

  /** "Carla, South changed phone of Ada Berg, which you had set". */
  describe(loss) {
    const { by, name, field } = this.#wordsOf(loss);
    return `${by} changed ${field} of ${name}, which you had set`;
  }

  /** Call it in an animation frame. While somebody points here nothing is added, since it would move what is there. */
  draw() {
    const losses = this.#pane.client.lost;
    this.#element.hidden = losses.length === 0;
    const title = losses.length === 1 ? "Somebody wrote over a value of yours" : `Others wrote over ${losses.length} values of yours`;
    if (this.#$("h2").textContent !== title) this.#$("h2").textContent = title;
    this.#fold(losses.length > 1);
    const ids = new Set(losses.map(({ id }) => id));
    for (const [id, item] of this.#items) {
      if (ids.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    for (const loss of losses) {
      if (!this.#items.has(loss.id)) {
        if (this.#element.matches(":hover")) continue;
        this.#items.set(loss.id, this.#$("ul").appendChild(this.#make(loss)));
      }
      this.#fill(this.#items.get(loss.id), loss);
    }
  }

  /** Where there is little room several of them are one line until somebody opens it. */
  #fold(areSeveral) {
    if (areSeveral === this.#areSeveral || this.#element.matches(":hover")) return;
    this.#areSeveral = areSeveral;
    this.#$("details").open = !areSeveral || this.#element.offsetWidth > NARROW_PX;
  }

  #make(loss) {
    const item = template.content.firstElementChild.cloneNode(true);
    item.querySelector(".whose").addEventListener("click", () => this.#pane.openRecord(loss.collection, loss.record_id));
    item.querySelector(".whose").disabled = !(loss.collection in COLLECTIONS);
    item.querySelector(".restore").addEventListener("click", () => this.#settle(() => this.#pane.writes.restore(loss)));
    item.querySelector(".keep").addEventListener("click", () => this.#settle(() => this.#pane.writes.dismiss(loss)));
    return item;
  }

  #fill(item, loss) {
    const words = this.#wordsOf(loss);
    const texts = { ".whose": words.name, ".which": capitalised(words.field), ".mine": words.mine, ".theirs": words.theirs, ".by": words.by };
    for (const [place, text] of Object.entries(texts)) {
      const element = item.querySelector(place);
      if (element.textContent !== text) element.textContent = text;
    }
    item.querySelector(".by").dataset.branch = words.branch;
    const restore = item.querySelector(".restore");
    const act = words.isGone ? "Bring it back with mine" : "Restore mine";
    if (restore.textContent !== act) restore.textContent = act;
    restore.setAttribute("aria-label", `${act}: ${words.field} of ${words.name}`);
    item.querySelector(".keep").setAttribute("aria-label", `Keep theirs: ${words.field} of ${words.name}`);
  }

  #wordsOf({ collection, record_id, field, mine, theirs, by }) {
    const pane = this.#pane;
    const record = pane.recordOf(COLLECTIONS[collection], record_id);
    const actor = by === null ? null : pane.authors.find(by, collection, record_id);
    const inWords = (value) => textOf(specOf(collection, field), value, pane.contextOf(record));
    const isDelete = field === "*";
    const isGone = !record && theirs === null && pane.isLoaded(COLLECTIONS[collection]);
    const one = COLLECTIONS[collection]?.one ?? "record";
    const name = isGone ? (pane.authors.calledOf(collection, record_id) ?? `A deleted ${one}`) : `A ${one}`;
    return {
      isGone,
      name: record?.name ?? name,
      field: isDelete ? "deletion" : fieldWords(field),
      mine: isDelete ? "deleted" : inWords(mine),
      theirs: isDelete ? "changed, and so kept" : isGone ? "deleted" : inWords(theirs),
      by: actor === undefined ? "Somebody" : pane.authorOf({ actor }),
      branch: actor === undefined ? "all" : pane.branchSlugOf({ actor }),
    };
  }

  /** The focus goes on to the next one, or to the pane. */
  #settle(act) {
    act();
    this.draw();
    const next = this.#element.hidden ? this.#pane.element.querySelector('[role="tab"][aria-selected="true"]') : this.#$(".restore");
    next.focus();
  }
}
