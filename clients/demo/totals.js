/** PURE. How many records are in each state, which, and what they come to. */

import { FIRST_CURRENCY } from "./collections.js";

const compact = new Map();

/** "€1.2M", of whole cents. */
function formatShort(cents, currency) {
  if (!compact.has(currency)) {
    const options = { style: "currency", currency, notation: "compact", maximumFractionDigits: 1, minimumFractionDigits: 0 };
    compact.set(currency, new Intl.NumberFormat("en", options));
  }
  return compact.get(currency).format(cents / 100);
}

/** `{ids, count, sum, sums}` by state: "€1.2M + 2 currencies", and all of them: currencies are not added up, the commonest is first. */
export function totalsOf(records, { states, stateField, amountField }) {
  const totals = new Map(states.map((state) => [state, { ids: [], money: new Map() }]));
  for (const record of records) {
    const total = totals.get(record[stateField] ?? states[0]);
    total.ids.push(record.id);
    if (record[amountField] === null || record[amountField] === undefined) continue;
    const { currency = FIRST_CURRENCY } = record;
    const money = total.money.get(currency) ?? { cents: 0, count: 0 };
    money.cents += Math.round(Number(record[amountField]) * 100);
    money.count += 1;
    total.money.set(currency, money);
  }
  return new Map([...totals].map(([state, { ids, money }]) => [state, { ids, count: ids.length, ...wordsOf(money) }]));
}

function wordsOf(money) {
  const byCount = [...money].sort(([, a], [, b]) => b.count - a.count);
  const [first = "", ...others] = byCount.map(([currency, { cents }]) => formatShort(cents, currency));
  const more = others.length > 1 ? ` + ${others.length} currencies` : others.map((sum) => ` + ${sum}`).join("");
  return { sum: first + more, sums: [first, ...others].join(" + ") };
}
