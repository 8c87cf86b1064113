/** What the page knows of the two collections that it shows. */

const money = new Map();

/** "€12,400", or nothing. Amounts come as text, exact to the cent; on the page the cents do not matter. */
export function formatMoney(amount, currency) {
  if (amount === null || amount === undefined) return "";
  if (!money.has(currency)) {
    money.set(currency, new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: 0 }));
  }
  return money.get(currency).format(Number(amount));
}

/** "expected close" of `expected_close_on`. */
const fieldWords = (field) => field.replace(/_(id|at|on)$/, "").replaceAll("_", " ");

export const COLLECTIONS = {
  leads: {
    name: "leads",
    title: "Leads",
    one: "lead",
    stateField: "status",
    states: ["new", "contacted", "qualified", "won", "lost"],
    amountField: "estimated_value",
    sorts: { "-created_at": "Newest", "-updated_at": "Last changed", name: "Name", "-estimated_value:numeric": "Value" },
    about: (lead) => lead.company,
  },
  deals: {
    name: "deals",
    title: "Deals",
    one: "deal",
    stateField: "stage",
    states: ["qualification", "proposal", "negotiation", "won", "lost"],
    amountField: "amount",
    sorts: { "-created_at": "Newest", "-updated_at": "Last changed", name: "Name", "-amount:numeric": "Amount", expected_close_on: "Closing" },
    about: (deal) => (deal.probability === null ? null : `${deal.probability} %`),
  },
};

/** What somebody did, as a sentence without its subject: "moved Ada Berg to contacted". */
export function describe(collection, { kind, record, before, fields }) {
  if (kind === "added") return `added ${record.name}`;
  if (kind === "removed") return `deleted ${record.name}`;
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

/** Whether a record's name or company holds `needle`, which is folded already; accents and case aside. */
export function matches(record, needle) {
  if (!folded.has(record)) folded.set(record, fold(`${record.name} ${record.company ?? ""}`));
  return folded.get(record).includes(needle);
}

export function fold(text) {
  return text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
}
