/** Whether a collection is shown as a list or as a board. */

export class ViewSwitch {
  #element;
  #buttons;

  /** `element` holds the two buttons; `onChoose(isBoard)`. */
  constructor(element, onChoose) {
    this.#element = element;
    this.#buttons = [...element.querySelectorAll("button")];
    this.#buttons.forEach((button, place) => button.addEventListener("click", () => onChoose(place === 1)));
  }

  show({ isOffered, isBoard }) {
    this.#element.hidden = !isOffered;
    this.#buttons.forEach((button, place) => (button.ariaPressed = String((place === 1) === isBoard)));
  }
}
