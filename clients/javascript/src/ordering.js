/**
 * PURE. The order of records: by fields, null last, text with accents and case aside, equals by id.
 *
 * The same as the API's `?sort=`: `sortKey` is held to `tests/vectors/sort_key.json`, as SQL and the server are.
 */

/** @import { Record_ } from "./types.js" */
/** @typedef {{ name: string, descending: boolean, isNumeric: boolean }} SortField */

/** Makes UTF-16 units compare as code points do. @param {string} c */
const fixUnit = (c) => String.fromCharCode(c.charCodeAt(0) + (c < "\uE000" ? 0x2000 : -0x800));

/** The key by which `text` is compared. @param {string} text */
export const sortKey = (text) => {
  if (/^[ -~]*$/.test(text)) return text.toLowerCase();
  let key = "";
  for (const c of text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "")) {
    const lower = c.toLowerCase();
    key += [...lower].length === 1 ? lower : c;
  }
  return key.replace(/[\uD800-\uFFFF]/g, fixUnit);
};

/**
 * Reads fields such as `name`, `-created_at` and `-amount:numeric` (decimal numbers come as text); none stands for `id`.
 * @param {string | readonly string[]} [sort]
 * @returns {SortField[]}
 */
export const parseSort = (sort = []) =>
  [sort].flat().map((text) => {
    const [, minus, name, numeric] = /^(-?)([^:]+)(:numeric)?$/.exec(text) ?? [];
    if (!name) throw new RangeError(`expected a field, -field or field:numeric to sort by, got ${text}`);
    return { name, descending: !!minus, isNumeric: !!numeric };
  });

/** The key by which a record is compared: a value or null for each field, then the id. @param {SortField[]} sort @param {Record_} record @returns {any[]} */
export const keyOf = (sort, record) => [
  ...sort.map(({ name, isNumeric }) => {
    const value = record[name] ?? null;
    if (value === null || typeof value === "number" || typeof value === "boolean") return value;
    if (!isNumeric) return sortKey(String(value));
    return Number.isNaN(+value) ? null : +value;
  }),
  record.id,
];

/** Compares two keys. @param {SortField[]} sort @param {any[]} a @param {any[]} b */
export function compareKeys(sort, a, b) {
  for (let i = 0; i < a.length; i++) {
    const x = a[i];
    const y = b[i];
    if (x === y) continue;
    if (x === null || y === null) return x === null ? 1 : -1;
    // The id goes the way of the first field.
    return x < y === !(sort[i] ?? sort[0])?.descending ? -1 : 1;
  }
  return 0;
}
