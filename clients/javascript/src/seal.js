/** What is sensitive lies on this device only encrypted, by a key that no script can read out: AES-GCM, by WebCrypto. */

/** @import { IDBPDatabase } from "idb" */

/**
 * The key of a database, made with it. Null where the browser has no WebCrypto: outside a secure context.
 * @param {IDBPDatabase} db
 * @returns {Promise<CryptoKey | null>}
 */
export async function openKey(db) {
  if (!globalThis.crypto?.subtle) return null;
  const fresh = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  // Two pages may come at once: the first one's key counts.
  const tx = db.transaction("meta", "readwrite", { durability: "strict" });
  const held = await tx.store.get("key");
  if (!held) void tx.store.put(fresh, "key");
  await tx.done;
  return held ?? fresh;
}

export class Seal {
  #sensitive;
  #key;

  /** @param {readonly string[]} sensitive collections whose rows are encrypted @param {CryptoKey | null} key */
  constructor(sensitive, key) {
    this.#sensitive = sensitive;
    this.#key = key;
  }

  /** Whether rows of a collection may lie on this device at all. @param {string} collection */
  mayKeep(collection) {
    return !!this.#key || !this.#sensitive.includes(collection);
  }

  /** Gives a row as it may lie on the disk, null if it may not. @param {string} collection @param {object} row @returns {Promise<object | null>} */
  async close(collection, row) {
    if (!this.#sensitive.includes(collection)) return row;
    if (!this.#key) return null;
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const text = new TextEncoder().encode(JSON.stringify(row));
    return { iv, sealed: await crypto.subtle.encrypt({ name: "AES-GCM", iv }, this.#key, text) };
  }

  /** Gives a row as it was. @param {any} row */
  async open(row) {
    if (!row.sealed) return row;
    const text = await crypto.subtle.decrypt({ name: "AES-GCM", iv: row.iv }, /** @type {CryptoKey} */ (this.#key), row.sealed);
    return JSON.parse(new TextDecoder().decode(text));
  }
}
