/** Files that all clients are held to. */

import { readFileSync, readdirSync } from "node:fs";

const ROOT = new URL("../../../", import.meta.url);

/** @param {string} path from the top of the tree */
export const readText = (path) => readFileSync(new URL(path, ROOT), "utf8");
/** @param {string} path @returns {any} */
export const readJson = (path) => JSON.parse(readText(path));
/** The golden frames of a folder, by name. @param {"down" | "up"} way @returns {[string, any][]} */
export const frames = (way) => {
  const folder = `tests/protocol/frames/${way}/`;
  return readdirSync(new URL(folder, ROOT)).map((name) => [name.replace(".json", ""), readJson(folder + name).message]);
};

/** A pseudo-random generator with a seed (mulberry32), so that a failing case can be had again. @param {number} seed */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  /** A whole number below `n`. @param {number} n */
  const below = (n) => Math.floor(next() * n);
  /** @template T @param {readonly T[]} list @returns {T} */
  const pick = (list) => /** @type {T} */ (list[below(list.length)]);
  return { next, below, pick };
}
