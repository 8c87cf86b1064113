/** The two collections as tabs, with how many records each has. */

export class Tabs {
  #tabs = {};
  #onOpen;

  constructor(element, collections, onOpen) {
    this.#onOpen = onOpen;
    for (const { name, title } of collections) {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.setAttribute("role", "tab");
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
