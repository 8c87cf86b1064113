/**
 * How many bytes a page fetches: `npm run size`. Everything is bundled and minified by esbuild, as a program that uses it would be, and
 * compressed by gzip -9. Polling and the import of old data are parts of their own,
 * fetched only where they are needed, and not counted.
 */

import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** @param {string} code @param {string[]} [external] */
async function measure(code, external = []) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: new URL("../src", import.meta.url).pathname },
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    target: "es2024",
    external,
    outdir: "out",
    write: false,
    logLevel: "error",
  });
  const sizes = outputFiles.map(({ path, contents }) => ({ path, bytes: contents.length, gzipped: gzipSync(contents, { level: 9 }).length }));
  const main = sizes.filter(({ path }) => !/polling|old_data/.test(path));
  return main.reduce((sum, { gzipped, bytes }) => ({ bytes: sum.bytes + bytes, gzipped: sum.gzipped + gzipped }), { bytes: 0, gzipped: 0 });
}

const CORE = 'export * from "./index.js";';
const OFFLINE = `${CORE} export * from "./offline.js";`;
const VENDOR = ["idb", "uuidv7"];
console.log("minified and gzipped bytes");
for (const [name, code, external] of /** @type {[string, string, string[]][]} */ ([
  ["core, with uuidv7", CORE, []],
  ["core, our own code", CORE, VENDOR],
  ["core, offline and tabs, with uuidv7 and idb", OFFLINE, []],
  ["core, offline and tabs, our own code", OFFLINE, VENDOR],
])) {
  const { bytes, gzipped } = await measure(code, external);
  console.log(`${String(bytes).padStart(7)} ${String(gzipped).padStart(6)}  ${name}`);
}
