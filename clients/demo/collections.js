/** What the page knows of the two collections that it shows. */

export const FIRST_CURRENCY = "EUR"; // the database's, of a record that it has not seen yet
const money = new Map();

/** "€12,400", with cents where there are any, or nothing. Amounts come as text, exact to the cent, and are not rounded. */
export function formatMoney(amount, currency = FIRST_CURRENCY) {
  if (amount === null || amount === undefined) return "";
  if (!money.has(currency)) {
    money.set(currency, new Intl.NumberFormat("en", { style: "currency", currency, trailingZeroDisplay: "stripIfInteger" }));
  }
  return money.get(currency).format(amount);
}

/** "expected close" of `expected_close_on`. */
export const fieldWords = (field) => field.replace(/_(id|at|on)$/, "").replaceAll("_", " ");

const LEAD_STATES = ["new", "contacted", "qualified", "won", "lost"];
const DEAL_STATES = ["qualification", "proposal", "negotiation", "won", "lost"];
const CURRENCIES = [FIRST_CURRENCY, "CHF", "GBP", "USD"];

/*
 * The fields that people edit, in the order of the form: `kind` is one of inputs.js, `max` the longest text or the
 * greatest number that the database takes, `isNew` one that the form for a new record asks for. The first of `choices` is
 * what the database gives to a new record.
 */
const LEAD_FIELDS = [
  { name: "name", kind: "text", max: 200, isRequired: true, isNew: true },
  { name: "company", kind: "text", max: 200, isNew: true },
  { name: "email", kind: "email", max: 254 },
  { name: "phone", kind: "phone", max: 60 },
  { name: "status", kind: "choice", choices: LEAD_STATES },
  { name: "source", kind: "choice", choices: ["website", "referral", "walk_in", "phone", "campaign", "import"] },
  { name: "estimated_value", kind: "money", max: 999_999_999_999.99 },
  { name: "currency", kind: "choice", choices: CURRENCIES },
  { name: "score", kind: "whole", max: 100 },
  { name: "next_step_at", kind: "moment" },
  { name: "branch_id", kind: "branch" },
  { name: "owner_id", kind: "person" },
  { name: "notes", kind: "lines", max: 20_000 },
];

const DEAL_FIELDS = [
  { name: "name", kind: "text", max: 200, isRequired: true, isNew: true },
  { name: "stage", kind: "choice", choices: DEAL_STATES, isNew: true },
  { name: "amount", kind: "money", max: 999_999_999_999.99, isNew: true },
  { name: "currency", kind: "choice", choices: CURRENCIES },
  { name: "probability", kind: "whole", max: 100, unit: "%" },
  { name: "expected_close_on", kind: "day" },
  { name: "branch_id", kind: "branch" },
  { name: "owner_id", kind: "person" },
  { name: "notes", kind: "lines", max: 20_000 },
];

export const COLLECTIONS = {
  leads: {
    name: "leads",
    title: "Leads",
    one: "lead",
    stateField: "status",
    states: LEAD_STATES,
    fields: LEAD_FIELDS,
    amountField: "estimated_value",
    sorts: {
      "-created_at": "Newest",
      "-updated_at": "Last changed",
      name: "Name",
      "-name": "Name, from Z",
      "-estimated_value:numeric": "Value",
      "estimated_value:numeric": "Value, from least",
    },
    about: (lead) => lead.company,
  },
  deals: {
    name: "deals",
    title: "Deals",
    one: "deal",
    hasBoard: true,
    stateField: "stage",
    states: DEAL_STATES,
    fields: DEAL_FIELDS,
    amountField: "amount",
    sorts: {
      "-created_at": "Newest",
      "-updated_at": "Last changed",
      name: "Name",
      "-name": "Name, from Z",
      "-amount:numeric": "Amount",
      "amount:numeric": "Amount, from least",
      expected_close_on: "Closing",
    },
    about: (deal) => (deal.probability === null || deal.probability === undefined ? null : `${deal.probability} %`),
  },
};

/** A field of a collection, also of one that the page does not know. */
export function specOf(collection, field) {
  return COLLECTIONS[collection]?.fields.find(({ name }) => name === field) ?? { name: field, kind: "text" };
}

/** What a new record has before the server has seen it. */
export function startOf({ fields }) {
  return Object.fromEntries(fields.filter(({ choices }) => choices).map(({ name, choices }) => [name, choices[0]]));
}

/** What people can write of a record. */
export function fieldsOf({ id, organization_id, version, created_at, updated_at, updated_by, ...fields }) {
  return fields;
}

/** What somebody did, as a sentence without its subject: "moved Ada Berg to contacted". */
export function describe(collection, { kind, record, before, fields }) {
  if (kind === "added") return `added ${record.name}`;
  if (kind === "removed") return `deleted ${record.name}`;
  if (kind === "returned") return `brought back ${record.name}`;
  const { stateField, amountField } = collection;
  if (fields.includes(stateField)) return `moved ${record.name} to ${record[stateField]}`;
  if (fields.includes("name")) return `renamed ${before.name} to ${record.name}`;
  const amount = fields.includes(amountField) && formatMoney(record[amountField], record.currency);
  if (amount) return `put ${record.name} at ${amount}`;
  return `changed ${fields.map(fieldWords).join(", ")} of ${record.name}`;
}

/** The state that usually follows. */
export function nextState(collection, record) {
  const { states, stateField } = collection;
  const now = states.indexOf(record[stateField]);
  return now >= 3 ? states[1] : states[now + 1];
}

const folded = new WeakMap();

/** Whether a text by which a person would look for a record holds `needle`, which is folded already; accents and case aside. */
export function matches(record, needle) {
  if (!folded.has(record)) {
    const { name, company, email, phone } = record;
    const digits = phone?.replace(/[^+\d]/g, ""); // for who types it spaced in another way
    folded.set(record, fold([name, company, email, phone, digits].join("\n")));
  }
  return folded.get(record).includes(needle);
}

export function fold(text) {
  return text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
}
