/**
 * Simulated colleagues. They are no part of the server: each signs in as a person and writes over the HTTP API,
 * as any other client would, at the uneven pace of people.
 */

import { COLLECTIONS, nextState } from "./collections.js";
import { COLLEAGUES, PASSWORD } from "./people.js";
import { Session } from "./session.js";

const MEAN_PAUSE_MS = 400;
const ROUND = 40; // writes before the list of what is worked on is fetched again
const PATIENCE = 3; // faults in a row before they give up
const HOME_AFTER_MS = 20 * 60_000; // nobody has touched the page for so long: the log need not grow

const FIRST = ["Inés", "Bo", "Maëlle", "Jakub", "Sunniva", "Tiago", "Ylva", "Nuria", "Kees", "Zuzana"];
const LAST = ["Aalto", "Brandão", "Cuypers", "Díaz", "Elgaard", "Fabre", "Gil", "Hájek", "Ivarsson", "Jørgensen"];
const COMPANIES = ["Café Lumière", "Nordlys Cold Store", "Casa Olmedo", "Pier Nine Cycles", "Atelier Fabre"];

const oneOf = (values) => values[Math.floor(Math.random() * values.length)];
/** The first ones far more often: people work on what is new. */
const recentOf = (values) => values[Math.floor(values.length * Math.random() ** 2)];

export class Colleagues {
  #people = [];
  #timer = 0;
  #faults = 0;
  #touchedAt = 0;
  #branches;
  #onStop;

  /** `branches` are the organisation's by id; `onStop(reason)` is called when they stop by themselves. */
  constructor({ branches, onStop }) {
    this.#branches = branches;
    this.#onStop = onStop;
    for (const type of ["pointerdown", "keydown", "pointermove"]) {
      addEventListener(type, () => (this.#touchedAt = performance.now()), { passive: true });
    }
  }

  start() {
    this.stop();
    this.#faults = 0;
    this.#touchedAt = performance.now();
    this.#people = COLLEAGUES.map(({ email, branches }) => {
      const all = [...this.#branches.values()];
      const own = branches.length > 0 ? all.filter(({ slug }) => branches.includes(slug)) : all;
      return new Colleague(new Session(email, PASSWORD), own.map(({ id }) => id));
    });
    this.#next();
  }

  stop() {
    clearTimeout(this.#timer);
    for (const person of this.#people) person.session.end();
    this.#people = [];
  }

  #next() {
    this.#timer = setTimeout(() => this.#work(), -Math.log(1 - Math.random()) * MEAN_PAUSE_MS);
  }

  async #work() {
    const people = this.#people;
    if (performance.now() - this.#touchedAt > HOME_AFTER_MS) return this.#giveUp("They went home.");
    if (document.hidden) return this.#next();
    try {
      await oneOf(people).work();
      this.#faults = 0;
    } catch (problem) {
      this.#faults += 1;
      if (people === this.#people && this.#faults >= PATIENCE) return this.#giveUp(problem.message);
    }
    if (people === this.#people) this.#next();
  }

  #giveUp(reason) {
    this.stop();
    this.#onStop(reason);
  }
}

class Colleague {
  #worked = {};
  #left = 0;
  #branchIds;

  /** `branchIds` are the branches that they work for. */
  constructor(session, branchIds) {
    this.session = session;
    this.#branchIds = branchIds;
  }

  async work() {
    if (this.#left-- <= 0) await this.#look();
    const collection = Math.random() < 0.75 ? COLLECTIONS.leads : COLLECTIONS.deals;
    const records = this.#worked[collection.name];
    if (records.length === 0 || (collection.name === "leads" && Math.random() < 0.03)) return this.#meet();
    const record = recentOf(records);
    const fields = this.#idea(collection, record);
    const answer = await this.session.request("PATCH", `api/${collection.name}/${record.id}`, fields);
    Object.assign(record, answer);
  }

  /** What this person may write to, the newest first. */
  async #look() {
    this.#left = ROUND;
    for (const { name } of Object.values(COLLECTIONS)) {
      const page = await this.session.request("GET", `api/${name}?limit=40&sort=-created_at&branch_id=${this.#branchIds.join(",")}`);
      this.#worked[name] = page.items;
    }
  }

  #idea(collection, record) {
    const luck = Math.random();
    if (luck < 0.1) return { [collection.stateField]: "lost" };
    if (luck < 0.6) return { [collection.stateField]: nextState(collection, record) };
    const amount = Number(record[collection.amountField] ?? 2_000) * (0.85 + Math.random() * 0.35);
    return { [collection.amountField]: (Math.round(amount / 50) * 50 + 50).toFixed(2) };
  }

  /** A new lead walks in. */
  async #meet() {
    const lead = {
      name: `${oneOf(FIRST)} ${oneOf(LAST)}`,
      company: oneOf(COMPANIES),
      source: "walk_in",
      branch_id: oneOf(this.#branchIds),
    };
    this.#worked.leads.unshift(await this.session.request("POST", "api/leads", lead));
  }
}
