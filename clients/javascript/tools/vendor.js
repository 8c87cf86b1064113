/** Copies what pages need of other libraries from node_modules to vendor/, and writes what it is: `npm run vendor`. */

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const FILES = /** @type {const} */ ([
  ["idb", "build/index.js", "LICENSE"],
  ["uuidv7", "dist/index.js", "LICENSE"],
]);

const rows = FILES.map(([name, path, licence]) => {
  const from = new URL(`../node_modules/${name}/`, import.meta.url);
  const to = new URL(`../vendor/${name}/`, import.meta.url);
  mkdirSync(to, { recursive: true });
  copyFileSync(new URL(path, from), new URL("index.js", to));
  copyFileSync(new URL(licence, from), new URL("LICENSE", to));
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", from), "utf8"));
  const hash = createHash("sha256").update(readFileSync(new URL("index.js", to))).digest("hex");
  return `| ${name} | ${version} | ${license} | \`${hash}\` |`;
});
const head = `# Copies of other libraries

What a page needs and no package manager brings it: unchanged files of the npm packages, by \`npm run vendor\`. The licences are beside them.

| package | version | licence | SHA-256 of index.js |
| --- | --- | --- | --- |
`;
writeFileSync(new URL("../vendor/README.md", import.meta.url), `${head}${rows.join("\n")}\n`);
