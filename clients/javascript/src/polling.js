/** Changes by HTTP, where sockets do not get through. Fetched only then: it is no part of the core's bytes. */

import { BranchlineError, isError } from "./errors.js";
import { encodePart, writeFilters } from "./topic.js";

/** @import { Change, Position, Record_, TopicSpec } from "./types.js" */
/** @import { Api } from "./api.js" */
/** @import { Entry, Subscriptions } from "./subscriptions.js" */

const PAGE_RECORDS = 200;
const PULL_CHANGES = 1_000;

/**
 * Brings every topic forward once. Raises `unreachable`, `needs_auth`, and what else ends it.
 * @param {Api} api
 * @param {Subscriptions} subscriptions
 */
export async function bringForward(api, subscriptions) {
  for (const entry of [...subscriptions.entries.values()]) {
    if (entry.feed.phase === "ended" || entry.isLoading) continue;
    try {
      await bringTopicForward(api, subscriptions, entry);
    } catch (error) {
      if (!(error instanceof BranchlineError)) throw error;
      const { status, code, message } = error;
      if (status === 410) {
        entry.feed.forget();
        return bringForward(api, subscriptions);
      }
      if (![403, 404, 422].includes(status)) throw status >= 500 || status === 429 ? new BranchlineError("unreachable", message) : error;
      entry.feed.phase = "ended";
      subscriptions.take(entry, [{ type: "ended", code, message }]);
    }
  }
}

/** @param {Api} api @param {Subscriptions} subscriptions @param {Entry} entry */
async function bringTopicForward(api, subscriptions, entry) {
  const { feed, spec } = entry;
  for (let hasMore = true; hasMore; ) {
    if (!feed.position) await begin(api, subscriptions, entry);
    const answer = await pull(api, spec.topic, /** @type {Position} */ (feed.position));
    subscriptions.take(entry, feed.pulled(answer));
    hasMore = answer.more;
  }
}

/** Begins where the head is: the records, if they are wanted, are read after it, so none is missed (I4). @param {Api} api @param {Subscriptions} subscriptions @param {Entry} entry */
async function begin(api, subscriptions, entry) {
  const { spec, feed } = entry;
  const { epoch, to, view } = await api.request("GET", `/api/changes?topic=${encodePart(spec.topic)}`);
  const position = { epoch, offset: to, view };
  const records = feed.first === "now" ? null : await fetchRecords(api, spec, position);
  subscriptions.take(entry, feed.fetched(records, position));
}

/** What came after a position, up to the end of a transaction. @param {Api} api @param {string} topic @param {Position} from */
async function pull(api, topic, from) {
  /** @type {Change[]} */ const changes = [];
  let { epoch, offset, view } = from;
  for (;;) {
    const query = `topic=${encodePart(topic)}&epoch=${encodePart(epoch)}&offset=${offset}&view=${encodePart(view)}`;
    const part = await api.request("GET", `/api/changes?${query}&limit=${PULL_CHANGES}`);
    changes.push(...part.changes);
    offset = part.to;
    if (!part.partial) return { epoch, from: from.offset, to: offset, changes, more: part.more };
  }
}

/** @param {Api} api @param {TopicSpec} spec @param {Position} at @returns {Promise<[string, Record_][]>} */
async function fetchRecords(api, { collection, conditions, record_id }, at) {
  const path = `/api/${encodePart(collection)}`;
  if (record_id) {
    try {
      return [[collection, await api.request("GET", `${path}/${encodePart(record_id)}`)]];
    } catch (error) {
      if (isError(error, "not_found")) return [];
      throw error;
    }
  }
  /** @type {[string, Record_][]} */ const records = [];
  const filters = writeFilters(conditions);
  let cursor = "";
  do {
    const query = `limit=${PAGE_RECORDS}${cursor && `&cursor=${encodePart(cursor)}`}${filters && `&${filters}`}`;
    const { items, next_cursor, epoch, offset } = await api.request("GET", `${path}?${query}`);
    if (epoch === at.epoch && offset < at.offset) throw new BranchlineError("unreachable", "the API's records are older than its log");
    for (const record of items) records.push([collection, record]);
    cursor = next_cursor ?? "";
  } while (cursor);
  return records;
}
