/**
 * Cards are dragged by pointer from one column to another. A mouse drags when it moves, a finger after it has rested on a
 * card for a moment, because until then it scrolls. Escape puts the card back.
 */

const MOVED_PX = 6;
const REST_MS = 300;
const GAP_PX = 16;
const EDGE_PX = 56; // so near to an edge the board scrolls by itself
const SPEED_PX = 14; // a frame, at the very edge

export class Drag {
  #board;
  #on;
  #press = null; // {id, card, pointerId, x, y, grip, timer}
  #ghost = null;
  #frame = 0;
  #stop = null;

  /** `begin(id)` says whether a card may be dragged; `over(state)` and `drop(state)` name a column, or null for none. */
  constructor(board, { begin, over, drop }) {
    this.#board = board;
    this.#on = { begin, over, drop };
    board.addEventListener("pointerdown", (event) => this.#down(event));
    // A finger that drags does not scroll; it has to be said of each touch from its beginning.
    board.addEventListener("touchmove", (event) => this.#ghost && event.preventDefault(), { passive: false });
    board.addEventListener("contextmenu", (event) => this.#press && event.pointerType !== "mouse" && event.preventDefault());
    board.addEventListener("dragstart", (event) => event.preventDefault());
  }

  #down(event) {
    const card = event.target.closest(".card");
    if (!card || event.button !== 0 || event.target.matches("select") || this.#press) return;
    const { pointerId, clientX: x, clientY: y } = event;
    const { left, top } = card.getBoundingClientRect();
    const timer = event.pointerType === "touch" ? setTimeout(() => this.#begin(), REST_MS) : 0;
    this.#press = { id: card.dataset.id, card, pointerId, x, y, grip: [x - left, y - top], timer };
    const listening = new AbortController();
    this.#stop = () => listening.abort();
    const listen = (type, fn) => addEventListener(type, fn, { signal: listening.signal, capture: true });
    listen("pointermove", (moved) => moved.pointerId === pointerId && this.#moved(moved));
    listen("pointerup", (up) => up.pointerId === pointerId && this.#end(this.#over()));
    listen("pointercancel", (gone) => gone.pointerId === pointerId && this.#end(null));
    listen("blur", (gone) => gone.target === window && this.#end(null));
    listen("keydown", (pressed) => this.#keyed(pressed));
  }

  #moved({ clientX, clientY }) {
    const press = this.#press;
    const isFar = Math.hypot(clientX - press.x, clientY - press.y) > MOVED_PX;
    if (!this.#ghost && isFar && press.timer) return this.#end(null); // it scrolls
    if (!this.#ghost && !isFar) return;
    Object.assign(press, { x: clientX, y: clientY });
    if (!this.#ghost) this.#begin();
  }

  #begin() {
    const { id, card, pointerId } = this.#press;
    if (!this.#on.begin(id)) return this.#end(null, { isClick: false });
    this.#board.setPointerCapture(pointerId);
    this.#ghost = card.cloneNode(true);
    this.#ghost.classList.add("ghost");
    this.#ghost.removeAttribute("role");
    this.#ghost.inert = true;
    Object.assign(this.#ghost.style, { width: `${card.offsetWidth}px`, height: `${card.offsetHeight}px` });
    document.body.append(this.#ghost);
    this.#board.classList.add("dragging");
    card.classList.add("lifted");
    this.#step();
  }

  /** Each frame, since what is below a pointer that rests may scroll. */
  #step() {
    const { x, y, grip } = this.#press;
    this.#ghost.style.transform = `translate(${x - grip[0]}px, ${y - grip[1]}px)`;
    this.#scroll(x, y);
    this.#on.over(this.#over());
    this.#frame = requestAnimationFrame(() => this.#step());
  }

  #column() {
    const { x, y } = this.#press;
    // Between two columns, and beside the last one, the nearest counts.
    for (const aside of [0, -GAP_PX, GAP_PX]) {
      const column = document.elementFromPoint(x + aside, y)?.closest(".column");
      if (this.#board.contains(column)) return column;
    }
    return null;
  }

  #over() {
    return (this.#ghost && this.#column()?.dataset.state) ?? null;
  }

  #scroll(x, y) {
    const board = this.#board.getBoundingClientRect();
    this.#board.scrollLeft += speed(x, board.left, board.right);
    const cards = this.#column()?.querySelector(".cards");
    if (!cards) return;
    const { top, bottom } = cards.getBoundingClientRect();
    cards.scrollTop += speed(y, top, bottom);
  }

  #keyed(event) {
    if (event.key !== "Escape" || !this.#ghost) return;
    event.preventDefault();
    event.stopPropagation();
    this.#end(null);
  }

  #end(state, { isClick = !this.#ghost } = {}) {
    const { card, timer } = this.#press;
    const wasDragged = this.#ghost !== null;
    clearTimeout(timer);
    cancelAnimationFrame(this.#frame);
    this.#stop();
    this.#ghost?.remove();
    this.#ghost = this.#press = null;
    this.#board.classList.remove("dragging");
    card.classList.remove("lifted");
    if (!isClick) this.#swallowClick();
    if (wasDragged) this.#on.drop(state);
  }

  /** What the button's release would click on was not meant. */
  #swallowClick() {
    const swallow = (event) => event.stopPropagation();
    const options = { capture: true, once: true };
    addEventListener("click", swallow, options);
    addEventListener("pointerdown", () => removeEventListener("click", swallow, options), options);
  }
}

/** How fast to scroll at a place between two edges: not at all but near one. */
function speed(at, start, end) {
  const near = Math.min(EDGE_PX, (end - start) / 4);
  if (at < start + near) return -SPEED_PX * Math.min(1, (start + near - at) / near);
  if (at > end - near) return SPEED_PX * Math.min(1, (at - end + near) / near);
  return 0;
}
