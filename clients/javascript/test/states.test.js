import assert from "node:assert/strict";
import { test } from "node:test";
import { closeEvent } from "../src/codes.js";
import { step } from "../src/states.js";
import { POLICY, awayDelayMs, blockedDelayMs, delayMs } from "../src/backoff.js";
import { readText } from "./files.js";

const CONTRACT = readText("clients/CONTRACT.md");

/** The rows of a table of the contract, without its head. @param {string} name @returns {string[][]} */
const table = (name) =>
  (CONTRACT.split(`<!-- ${name} -->`)[1]?.split("<!-- end -->")[0] ?? "")
    .trim()
    .split("\n")
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
    .filter((_, index) => index !== 1);

test("every cell of the contract's table of states is what the code does", () => {
  const [head, ...rows] = table("transitions");
  const states = (head ?? []).slice(1).map((cell) => cell.replaceAll("`", ""));
  assert.equal(states.length, 10);
  assert.equal(rows.length, 18);
  for (const [event = "", ...cells] of rows) {
    cells.forEach((cell, index) => {
      const state = /** @type {any} */ (states[index]);
      const [, to, actions] = /^\*\*(.+)\*\*(.*)$/.exec(cell) ?? [null, state, ""];
      const expected = [to, ...(actions ?? "").split(",").map((word) => word.trim()).filter(Boolean)];
      assert.deepEqual([...step(state, /** @type {any} */ (event.replaceAll("`", "")))], expected, `${state} × ${event}`);
    });
  }
});

test("every close code of the contract's table is the event that it names", () => {
  for (const [what = "", , event] of table("closes").slice(1)) {
    if (/^\d+$/.test(what)) assert.equal(`\`${closeEvent(+what)}\``, event, what);
  }
  for (const code of [1005, 1006, 4000, 4499]) assert.equal(closeEvent(code), "lost");
  for (const code of [4500, 4999]) assert.equal(closeEvent(code), "ended");
});

test("waits are the contract's", () => {
  const times = CONTRACT.split("<!-- times -->")[1]?.split("<!-- end -->")[0] ?? "";
  for (const key of /** @type {const} */ (["lost_ms", "silent_ms", "away_ms", "blocked_ms", "blocked_cap_ms", "cap_ms"])) {
    assert.ok(times.includes(String(POLICY[key])), key);
  }
  assert.match(times, new RegExp(`\\| ${POLICY.refused_tries} \\|`));
});

test("waits have full jitter up to a ceiling that doubles to its cap", () => {
  for (let attempt = 1; attempt < 40; attempt++) {
    const ceiling = Math.min(30_000, 500 * 2 ** attempt);
    assert.equal(delayMs(POLICY, attempt, 0), 0);
    assert.equal(delayMs(POLICY, attempt, 0.5), ceiling / 2);
  }
  assert.equal(blockedDelayMs(POLICY, 1, 0), 15_000);
  assert.equal(awayDelayMs(POLICY, 1000, 0.5), 1100);
});
