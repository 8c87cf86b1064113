#!/usr/bin/env node
/** Writes the types of a running server's records: `npx branchline-types http://127.0.0.1:8000 > schema.d.ts`. */

import { writeSchema } from "./schema.js";

const [, , address, ...more] = process.argv;
try {
  if (!address || more.length) throw new Error("expected a server's address: branchline-types http://127.0.0.1:8000 > schema.d.ts");
  const url = new URL("/openapi.json", address);
  const answer = await fetch(url).catch(({ cause }) => Promise.reject(new Error(`${url} cannot be reached: ${cause}`)));
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  process.stdout.write(`/** By branchline-types, from ${url}: not to be edited. */\n\n${writeSchema(await answer.json())}`);
} catch (error) {
  console.error(`branchline-types: ${/** @type {Error} */ (error).message}`);
  process.exitCode = 1;
}
