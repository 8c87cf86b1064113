/**
 * A long list of which only what can be seen is in the document, with the keyboard of an ARIA grid.
 *
 * Rows are keyed by record, so the one that is being edited keeps its element, its focus and its text whatever
 * happens around it. It stays in the document even when it is scrolled out of sight.
 */

const SPARE_ROWS = 5; // above and below what can be seen

export class WindowedList {
  #scroller;
  #runway;
  #makeRow;
  #rows = new Map(); // id → row
  #ids = [];
  #indexOf = new Map();
  #active = { id: null, column: 0 };
  #rowHeight = 0;
  #gap = null;

  /**
   * `makeRow(id)` gives `{element, controls, show(index)}`: `controls` are what the arrow keys move between,
   * `show` brings the element up to date.
   */
  constructor(scroller, { makeRow, onScroll }) {
    this.#scroller = scroller;
    this.#runway = scroller.querySelector(".runway");
    this.#makeRow = makeRow;
    scroller.addEventListener("scroll", onScroll, { passive: true });
    scroller.addEventListener("keydown", (event) => this.#keyed(event));
    scroller.addEventListener("focusin", (event) => this.#focused(event));
    new ResizeObserver(() => {
      this.#measure(); // a narrower one may have higher rows
      onScroll();
    }).observe(scroller);
  }

  /** The ids of all records, in order. Call `draw` afterwards. */
  set ids(ids) {
    this.#ids = ids;
    this.#indexOf = new Map(ids.map((id, index) => [id, index]));
    this.#scroller.closest('[role="grid"]').setAttribute("aria-rowcount", ids.length);
  }

  get ids() {
    return this.#ids;
  }

  /** Other ids, while the first row in sight that stays keeps its place. Call `draw` afterwards. */
  relist(ids) {
    const first = Math.floor(this.#scroller.scrollTop / this.#rowHeight);
    const before = this.#ids;
    this.ids = ids;
    const anchor = this.scrolled ? before.findIndex((id, index) => index >= first && this.#indexOf.has(id)) : -1;
    if (anchor < 0) return;
    this.#stretch();
    this.#scroller.scrollTop += (this.#indexOf.get(before[anchor]) - anchor) * this.#rowHeight;
  }

  /** The place of a row is kept free for one that would come there; null: none is. Call `draw` afterwards. */
  set gap(index) {
    this.#gap = index;
  }

  /** The place nearest to `index` that can be seen. */
  nearest(index) {
    const first = Math.ceil(this.#scroller.scrollTop / this.#rowHeight);
    const fitting = Math.floor(this.#scroller.clientHeight / this.#rowHeight) - 1;
    return Math.min(Math.max(index, first), first + Math.max(0, fitting));
  }

  has(id) {
    return this.#indexOf.has(id);
  }

  row(id) {
    return this.#rows.get(id);
  }

  /** How far it is scrolled. */
  get place() {
    return this.#scroller.scrollTop;
  }

  set place(top) {
    this.#scroller.scrollTop = top;
  }

  /** Whether a record's row can be seen whole. */
  isInSight(id) {
    const top = this.#indexOf.get(id) * this.#rowHeight - this.#scroller.scrollTop;
    return top >= 0 && top + this.#rowHeight <= this.#scroller.clientHeight;
  }

  get scrolled() {
    return this.#scroller.scrollTop > 8;
  }

  /** Whether somebody points at a row or works in one, so that rows must not move. */
  get inUse() {
    return this.#scroller.matches(":hover, :focus-within");
  }

  /** Shows what is in sight. Call it in an animation frame. */
  draw() {
    if (this.#rowHeight === 0) this.#measure();
    const height = this.#rowHeight;
    this.#stretch();
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / height) - SPARE_ROWS);
    const seen = Math.ceil(this.#scroller.clientHeight / height);
    const wanted = new Set(this.#ids.slice(first, first + seen + 2 * SPARE_ROWS));
    const holder = this.#scroller.contains(document.activeElement) ? this.#active.id : null;
    if (this.#indexOf.has(holder)) wanted.add(holder);
    else if (!wanted.has(this.#active.id)) this.#active = { id: this.#ids[first] ?? null, column: 0 };
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    this.#place([...wanted].sort((a, b) => this.#indexOf.get(a) - this.#indexOf.get(b)));
  }

  /** As far as needed for a record to be in sight. */
  reveal(id) {
    const top = this.#indexOf.get(id) * this.#rowHeight;
    const view = this.#scroller;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + this.#rowHeight > view.scrollTop + view.clientHeight) {
      view.scrollTop = top + this.#rowHeight - view.clientHeight;
    }
    this.draw(); // the row may only now come into sight
  }

  /** Scrolls to the top, or to a record. */
  scrollTo(id) {
    const top = id ? this.#indexOf.get(id) * this.#rowHeight - this.#scroller.clientHeight / 3 : 0;
    this.#scroller.scrollTo({ top });
  }

  #measure() {
    this.#rowHeight = parseFloat(getComputedStyle(this.#scroller).getPropertyValue("--row"));
  }

  #stretch() {
    this.#runway.style.height = `${(this.#ids.length + (this.#gap === null ? 0 : 1)) * this.#rowHeight}px`;
  }

  /** New elements go in before their successor: moving one that is there would take its focus away. */
  #place(ids) {
    let next = null;
    for (const id of ids.reverse()) {
      const index = this.#indexOf.get(id);
      if (!this.#rows.has(id)) {
        const row = this.#makeRow(id);
        row.element.dataset.id = id;
        this.#rows.set(id, row);
        this.#runway.insertBefore(row.element, next);
      }
      const row = this.#rows.get(id);
      const place = this.#gap !== null && index >= this.#gap ? index + 1 : index;
      row.element.style.transform = `translateY(${place * this.#rowHeight}px)`;
      row.element.setAttribute("aria-rowindex", index + 1);
      row.show();
      row.controls.forEach((control, column) => {
        control.tabIndex = id === this.#active.id && column === this.#active.column ? 0 : -1;
      });
      next = row.element;
    }
  }

  #focused({ target }) {
    const id = target.closest("[data-id]")?.dataset.id;
    const column = this.#rows.get(id)?.controls.indexOf(target) ?? -1;
    if (column < 0) return;
    const before = this.#rows.get(this.#active.id)?.controls[this.#active.column];
    if (before) before.tabIndex = -1;
    target.tabIndex = 0;
    this.#active = { id, column };
  }

  #keyed(event) {
    const { id, column } = this.#active;
    const row = this.#rows.get(id);
    if (!row || !row.controls.includes(event.target) || event.altKey || isOpen(event.target)) return;
    const page = Math.max(1, Math.floor(this.#scroller.clientHeight / this.#rowHeight) - 1);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.#move(this.#indexOf.get(id) + steps[event.key], column);
    else if (event.key === "ArrowLeft") row.controls[column - 1]?.focus();
    else if (event.key === "ArrowRight") row.controls[column + 1]?.focus();
    else return;
    event.preventDefault();
  }

  #move(index, column) {
    const target = Math.min(Math.max(index, 0), this.#ids.length - 1);
    this.reveal(this.#ids[target]);
    this.#rows.get(this.#ids[target])?.controls[column].focus({ preventScroll: true });
  }
}

/** Whether a control has its list of choices open. */
export function isOpen(control) {
  try {
    return control.matches(":open");
  } catch {
    return false; // a browser that does not know :open keeps the keys of an open list to itself
  }
}
