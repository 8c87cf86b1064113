/** The two collections as tabs, with how many records each has, and the panel that shows one of them. */

let made = 0; // so that each pane's ids are its own

export class Tabs {
  #tabs = {};
  #panel;
  #onOpen;

  constructor(element, collections, onOpen) {
    const nth = ++made;
    this.#onOpen = onOpen;
    this.#panel = element.closest(".pane").querySelector('[role="tabpanel"]');
    this.#panel.id = `panel-${nth}`;
    for (const { name, title } of collections) {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.id = `tab-${nth}-${name}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", this.#panel.id);
      tab.append(title, document.createElement("span"));
      tab.addEventListener("click", () => onOpen(name));
      tab.addEventListener("keydown", ({ key }) => this.#keyed(name, key));
      this.#tabs[name] = tab;
      element.append(tab);
    }
  }

  select(selected) {
    for (const [name, tab] of Object.entries(this.#tabs)) {
      tab.setAttribute("aria-selected", name === selected);
      tab.tabIndex = name === selected ? 0 : -1;
    }
    this.#panel.setAttribute("aria-labelledby", this.#tabs[selected].id);
  }

  count(name, text) {
    const number = this.#tabs[name].lastElementChild;
    if (number.textContent !== text) number.textContent = text;
  }

  #keyed(name, key) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!step) return;
    const names = Object.keys(this.#tabs);
    const next = names.at((names.indexOf(name) + step) % names.length);
    this.#onOpen(next);
    this.#tabs[next].focus();
  }
}
