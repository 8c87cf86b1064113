/**
 * PURE. Topics: writing one from a collection and a filter, and telling whether a record passes it.
 *
 * Fields and values are sorted and encoded as in the server's canonical form. Where it differs (values have types that
 * only the server knows), the server's answer names the canonical one.
 */

/** @import { Conditions, Fields, TopicOptions, TopicSpec, Value, Where } from "./types.js" */

/** Percent-encodes a name or value ("~" too: alone it means null). @param {string} text */
export const encodePart = (text) =>
  encodeURIComponent(text).replace(/[!'()*~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Gives a filter with a list of alternatives for each field. @param {Where} [where] @returns {Conditions} */
export const conditionsOf = (where = {}) =>
  Object.fromEntries(
    Object.entries(where).map(([field, value]) => {
      const values = /** @type {readonly Value[]} */ (Array.isArray(value) ? value : [value]);
      if (!values.length) throw new RangeError(`expected a value for the filter on ${field}, got an empty list`);
      return [field, values];
    }),
  );

/** Writes a filter as the query of a topic or of a list. @param {Conditions} conditions */
export const writeFilters = (conditions) =>
  Object.keys(conditions)
    .sort()
    .map((field) => {
      const values = /** @type {readonly Value[]} */ (conditions[field]);
      const texts = new Set(values.map((value) => (value === null ? "~" : encodePart(String(value)))));
      // "~" alone is null and comes first.
      const sorted = [...texts].sort((a, b) => +(b === "~") - +(a === "~") || (a < b ? -1 : 1));
      return `${encodePart(field)}=${sorted.join()}`;
    })
    .join("&");

/**
 * Writes a topic: a collection, one record of it, its records that pass a filter, or `*`.
 * @param {string} collection
 * @param {TopicOptions<any>} [options]
 * @returns {TopicSpec}
 */
export function topicOf(collection, { where, id } = {}) {
  const conditions = conditionsOf(where);
  const query = writeFilters(conditions);
  if (id && query) throw new RangeError("a topic names one record or a filter, not both");
  const name = collection === "*" ? collection : encodePart(collection);
  const topic = name + (id ? `/${encodePart(id)}` : query && `?${query}`);
  return { topic, collection, conditions, record_id: id };
}

/** @param {any} stored @param {Value} wanted */
const same = (stored, wanted) =>
  stored == null || wanted == null
    ? stored == wanted
    : typeof wanted === "number" && typeof stored !== "boolean"
      ? Number(stored) === wanted
      : typeof wanted === "boolean"
        ? stored === wanted
        : String(stored) === wanted;

/** Whether a record passes a filter, as far as this can be told without the fields' types. @param {Conditions} conditions @param {Fields} record */
export const admits = (conditions, record) =>
  Object.entries(conditions).every(([field, values]) => values.some((value) => same(record[field], value)));
