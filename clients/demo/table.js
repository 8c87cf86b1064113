/** The rows of a pane: which records are in it and where, so that none moves under somebody's pointer. */

import { Heads } from "./heads.js";
import { WindowedList } from "./list.js";
import { Row } from "./row.js";

export class Table {
  #pane;
  #list;
  #heads;
  #freshButton;
  #empty;
  #shownIds = [];
  #fresh = new Set(); // new records that are not shown yet because somebody points at the list
  #orderChanged = true;
  #left = 0; // where the list was scrolled to when its place was taken
  #flashes = new Map(); // id → {fields, branch}, for the next frame

  /** `pane` gives the feed, the filters and the words; see pane.js. */
  constructor(pane, element) {
    this.#pane = pane;
    const list = element.querySelector(".list");
    this.#list = new WindowedList(list, { makeRow: (id) => new Row(pane, id), onScroll: () => pane.draw() });
    this.#heads = new Heads(element.querySelector(".heads"), (sort) => pane.filters.order(sort));
    this.#freshButton = element.querySelector(".fresh");
    this.#empty = element.querySelector(".empty");
    this.#freshButton.addEventListener("click", () => {
      this.relist({ toTop: true });
      pane.draw();
    });
    list.addEventListener("pointerleave", () => pane.draw());
    list.addEventListener("focusout", () => pane.draw());
  }

  /** Takes an effect of the feed; `branch` is the colour in which others' changes light up. */
  take(effect, branch) {
    const { kind, id, before, after, fields, mine, moved } = effect;
    const { filters, page } = this.#pane;
    const [was, is] = [before, after].map((each) => each !== undefined && filters.admits(each, page.branches));
    this.#orderChanged ||= was !== is || (is && moved);
    if (kind === "added" && is) this.#fresh.add(id);
    if (kind === "removed") this.#fresh.delete(id);
    if (kind !== "removed" && !mine) this.#flashes.set(id, { fields: kind === "added" ? [] : fields, branch });
  }

  /** Takes the records as they are now. */
  relist({ toTop = false } = {}) {
    const { feed, filters, page, views } = this.#pane;
    this.#fresh.clear();
    views.clear();
    this.#orderChanged = false;
    const { records } = feed.live;
    const shown = filters.isOn ? records.filter((record) => filters.admits(record, page.branches)) : records;
    this.#shownIds = shown.map(({ id }) => id);
    this.#list.ids = this.#shownIds;
    if (toTop) this.#list.scrollTo(null);
  }

  /** Scrolls to a record. */
  scrollTo(id) {
    if (this.#shownIds.includes(id)) this.#list.scrollTo(id);
  }

  /** Another page takes the list's place for a while. */
  leave() {
    this.#left = this.#list.place;
  }

  /** The list is back where it was, with the record that was looked at in sight, and the focus on what opened it. */
  comeBack(id) {
    this.#list.place = this.#left;
    this.draw();
    if (!this.#list.isInSight(id)) this.scrollTo(id);
    this.draw();
    this.#list.row(id)?.controls.at(-1).focus({ preventScroll: true });
  }

  /** Draws the rows in sight. Call it in an animation frame. */
  draw() {
    if (this.#orderChanged && !this.#list.scrolled && !this.#list.inUse) this.relist();
    this.#list.draw();
    this.#heads.show(this.#pane.collection, this.#pane.filters.sort);
    for (const [id, { fields, branch }] of this.#flashes) this.#list.row(id)?.flash(fields, branch);
    this.#flashes.clear();
    this.#freshButton.hidden = this.#fresh.size === 0;
    this.#freshButton.textContent = `${this.#fresh.size} new`;
    const { feed, filters, collection, client } = this.#pane;
    this.#empty.hidden = this.#shownIds.length > 0;
    const nothing = filters.isOn ? "Nothing like that. Change what you look for above." : `No ${collection.name} that this person may read.`;
    const missing = client.state === "stopped" ? "Nothing of this is kept on this device" : "Fetching the records";
    this.#empty.textContent = feed.loaded ? nothing : missing;
  }
}
