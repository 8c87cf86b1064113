/** Imports what an older program has left in `localStorage` (S6): once, whatever happens in between, and without losing anything. */

import { keyOfRecord } from "./queue.js";

/** @import { Fields } from "./types.js" */
/** @import { Session } from "./session.js" */

/**
 * For each key of `localStorage` (JSON: a list of items, or an object of them) the collection, and what gives the fields of an item,
 * null for one that is not to be imported. `legacy_id` gives what the item was called; by default its `id`. Keys that are not named here,
 * such as preferences and drafts, are left alone.
 * @typedef {{ [key: string]: { collection: string, fields: (item: any) => Fields | null, legacy_id?: (item: any) => unknown } }} Mapping
 * @typedef {{ key: string, done: number, total: number }} Progress
 */

/**
 * The id that an item has in any import: made from where it came from and who imports it, so that doing it twice does it once.
 * @param {string} text
 */
async function idOf(text) {
  const bytes = new TextEncoder().encode(text);
  const hash = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : plainHash(bytes);
  const hex = [...hash.slice(0, 16)].map((byte, i) => (i === 6 ? (byte & 15) | 0x80 : i === 8 ? (byte & 63) | 0x80 : byte));
  const digits = hex.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** FNV-1a, four times: where there is no WebCrypto. Nothing secret depends on it. @param {Uint8Array} bytes */
function plainHash(bytes) {
  const hash = new Uint8Array(16);
  for (let lane = 0; lane < 4; lane++) {
    let h = 0x811c9dc5 ^ lane;
    for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
    for (let i = 0; i < 4; i++) hash[4 * lane + i] = h >>> (8 * i);
  }
  return hash;
}

/**
 * Imports, and deletes a key only when the server has all of it. Items that the server refuses lie in the inbox, and their key stays.
 * @param {Session} session
 * @param {Mapping} mapping
 * @param {(progress: Progress) => void} [onProgress]
 * @returns {Promise<{ imported: number, refused: number }>}
 */
export async function importOldData(session, mapping, onProgress = () => {}) {
  let imported = 0;
  let refused = 0;
  for (const [key, { collection, fields: fieldsOf, legacy_id = (/** @type {any} */ item) => item.id }] of Object.entries(mapping)) {
    const text = localStorage.getItem(key);
    if (!text) continue;
    const items = Object.values(JSON.parse(text));
    let done = 0;
    const outcomes = await Promise.all(
      items.map(async (item) => {
        const fields = fieldsOf(item);
        const legacy = String(legacy_id(item));
        const is = fields && (await insertOnce(session, collection, await idOf(`${session.bound} ${key} ${legacy}`), fields));
        onProgress({ key, done: ++done, total: items.length });
        return is;
      }),
    );
    const bad = outcomes.filter((is) => is === false).length;
    imported += outcomes.filter(Boolean).length;
    refused += bad;
    if (!bad) localStorage.removeItem(key);
  }
  return { imported, refused };
}

/** Whether the server has it now. @param {Session} session @param {string} collection @param {string} id @param {Fields} fields */
async function insertOnce({ writer, api }, collection, id, fields) {
  const key = keyOfRecord({ collection, id });
  if ([...writer.inbox.values()].some(({ mutation }) => keyOfRecord(mutation) === key)) return false;
  const queued = writer.queue.ofRecord(key).length > 0;
  // Here already, from an import that was interrupted?
  if (!queued && (await api.request("GET", `/api/${key}`).catch(() => null))) return true;
  const { server } = writer.write("insert", collection, id, fields);
  return server.then(
    () => true,
    (error) => {
      if (error.entry?.code !== "id_taken") return false;
      return writer.discard({ inbox_gone: [error.entry.id] }).then(() => true);
    },
  );
}
