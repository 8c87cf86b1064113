/**
 * The records of a pane by their states, each a column of cards that are moved by mouse, finger or keyboard.
 *
 * While somebody points at a column, or drags, what others do changes cards in their places and moves none.
 */

import { Column } from "./column.js";
import { Drag } from "./drag.js";
import { totalsOf } from "./totals.js";

export class Board {
  #pane;
  #element;
  #columns = [];
  #collection = null;
  #totals = null;
  #flashes = new Map(); // id → branch, for the next frame
  #dragged = null; // id
  #left = { across: 0, down: [] }; // where it was scrolled to when its place was taken
  #revealed = null; // id: the card that is brought into sight in the next frame, with the focus

  /** `pane` gives the feed, the filters, the views and takes the writes; see pane.js. */
  constructor(pane, element) {
    this.#pane = pane;
    this.#element = element;
    element.addEventListener("keydown", (event) => this.#keyed(event), { capture: true });
    new Drag(element, {
      begin: (id) => this.#lift(id),
      over: (state) => this.#offer(state),
      drop: (state) => this.#drop(state),
    });
  }

  /** Takes an effect of the feed; `branch` is the colour in which others' changes light up. */
  take({ kind, id, before, after, mine, moved }, branch) {
    const [from, to] = [this.#columnOf(before), this.#columnOf(after)];
    this.#totals = null;
    if (from !== to || moved) for (const column of [from, to]) if (column) column.isStale = true;
    if (from !== to && mine) {
      if (from?.list.row(id)?.element.contains(document.activeElement)) this.#revealed = id;
      this.#move(id, to);
    }
    else if (from !== to) to?.expect(id);
    if (kind !== "removed" && !mine) this.#flashes.set(id, branch);
  }

  /** Takes the records as they are now. */
  relist({ toTop = false } = {}) {
    const { collection, views } = this.#pane;
    if (collection !== this.#collection) this.#make(collection);
    views.clear();
    this.#totals = null;
    for (const column of this.#columns) {
      column.relist(this.#total(column).ids);
      if (toTop) column.scrollToTop();
    }
    this.#column(this.#pane.filters.status)?.element.scrollIntoView({ block: "nearest", inline: "center" });
  }

  /** Scrolls to a record. */
  scrollTo(id) {
    const column = this.#columns.find(({ list }) => list.has(id));
    column?.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    column?.list.scrollTo(id);
  }

  /** Another page takes the board's place for a while. */
  leave() {
    this.#left = { across: this.#element.scrollLeft, down: this.#columns.map(({ list }) => list.place) };
  }

  /** The board is back where it was, with the focus on the record that was looked at. */
  comeBack(id) {
    const { across, down } = this.#left;
    this.#element.scrollLeft = across;
    this.#columns.forEach(({ list }, index) => (list.place = down[index] ?? 0));
    this.#revealed = id;
    this.#pane.draw();
  }

  /** Draws the cards in sight. Call it in an animation frame. */
  draw() {
    for (const column of this.#columns) {
      if (column.isStale && this.#dragged === null && !column.list.inUse) column.relist(this.#total(column).ids);
      column.draw(this.#total(column), this.#pane.filters.status, this.#pane.feed.loaded);
      for (const [id, branch] of this.#flashes) column.list.row(id)?.flash(branch);
    }
    this.#flashes.clear();
    this.#reveal();
  }

  // ── columns ─────────────────────────────────────────────────────────────────────────────────

  #make(collection) {
    this.#collection = collection;
    const { filters } = this.#pane;
    this.#columns = collection.states.map((state) => {
      return new Column(this.#pane, state, {
        onToggle: () => filters.toggleStatus(state),
        onFresh: () => this.#refresh(state),
        onMove: (id, to) => this.#write(id, to),
      });
    });
    this.#element.replaceChildren(...this.#columns.map(({ element }) => element));
  }

  #column(state) {
    return this.#columns.find((column) => column.state === state);
  }

  /** Where a record belongs, if it is to be shown at all. */
  #columnOf(record) {
    const { filters, page, collection } = this.#pane;
    if (!record || !filters.admitsButState(record, page.branches)) return undefined;
    return this.#column(record[collection.stateField] ?? collection.states[0]);
  }

  #total({ state }) {
    const { filters, feed, page, collection } = this.#pane;
    this.#totals ??= totalsOf(feed.live.records.filter((each) => filters.admitsButState(each, page.branches)), collection);
    return this.#totals.get(state);
  }

  #refresh(state) {
    const column = this.#column(state);
    column.relist(this.#total(column).ids);
    column.scrollToTop();
    this.#pane.draw();
  }

  #place = (id) => this.#pane.feed.live.indexOf(id) ?? 0;

  #move(id, to) {
    for (const column of this.#columns) if (column !== to) column.remove(id);
    to?.insert(id, this.#place);
  }

  #reveal() {
    const id = this.#revealed;
    this.#revealed = null;
    const column = this.#columns.find(({ list }) => list.has(id));
    if (!column) return;
    column.element.scrollIntoView({ block: "nearest", inline: "nearest" });
    column.list.reveal(id);
    column.list.row(id).controls[0].focus({ preventScroll: true });
  }

  // ── moving ──────────────────────────────────────────────────────────────────────────────────

  #write(id, state) {
    const { collection, feed } = this.#pane;
    const record = feed.live.get(id);
    if (!record || record[collection.stateField] === state) return;
    if (!this.#pane.mayWrite(record)) return this.#pane.explainRefusal(id);
    this.#pane.writes.update(id, { [collection.stateField]: state });
    this.#revealed = id;
    this.#pane.draw();
  }

  #lift(id) {
    const { feed } = this.#pane;
    const record = feed.live.get(id);
    if (!record) return false;
    if (!this.#pane.mayWrite(record)) {
      this.#pane.explainRefusal(id);
      return false;
    }
    this.#dragged = id;
    return true;
  }

  /** The place that the dragged card would have in a column, if it is over one that is not its own. */
  #offer(state) {
    const isHome = (column) => column.list.has(this.#dragged);
    for (const column of this.#columns) {
      column.offer(column.state === state && !isHome(column) ? this.#dragged : null, this.#place);
    }
    this.#pane.draw();
  }

  #drop(state) {
    this.#offer(null);
    const id = this.#dragged;
    this.#dragged = null;
    this.#pane.draw();
    if (state && !this.#column(state).list.has(id)) this.#write(id, state);
  }

  #keyed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !event.target.matches(".headline") || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const { id } = event.target.closest("[data-id]").dataset;
    const here = this.#columns.findIndex(({ list }) => list.has(id));
    const next = this.#columns[here + step];
    if (event.shiftKey || event.ctrlKey) {
      if (next) this.#write(id, next.state);
    } else this.#focusBeside(event.target, here, step);
  }

  /** The card at the same height in the next column that has one. */
  #focusBeside(title, here, step) {
    const { top } = title.getBoundingClientRect();
    for (let column = here + step; column in this.#columns; column += step) {
      const titles = [...this.#columns[column].element.querySelectorAll(".headline")];
      const far = (each) => Math.abs(each.getBoundingClientRect().top - top);
      const nearest = titles.reduce((best, each) => (best && far(best) <= far(each) ? best : each), null);
      if (nearest) return nearest.focus();
    }
  }
}
