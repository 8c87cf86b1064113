import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { readJson, readText } from "./files.js";

const FOLDER = new URL("../", import.meta.url);

test("tsc --strict finds nothing in the sources, the tests and the tools", () => {
  const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", FOLDER));
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, "--project", "."], { cwd: FOLDER, encoding: "utf8" });
  assert.equal(stdout + stderr, "");
  assert.equal(status, 0);
});

test("the types that are published compile in a program that uses them", (t) => {
  // Inside the folder, where the packages are found that the types name.
  const types = mkdtempSync(fileURLToPath(new URL("node_modules/.types-", FOLDER)));
  t.after(() => rmSync(types, { recursive: true }));
  const tsc = (/** @type {string[]} */ ...args) => {
    const path = fileURLToPath(new URL("node_modules/typescript/bin/tsc", FOLDER));
    return spawnSync(process.execPath, [path, ...args], { cwd: FOLDER, encoding: "utf8" }).stdout;
  };
  assert.equal(tsc("--project", "tsconfig.types.json", "--outDir", types), "");
  copyFileSync(new URL("src/types.d.ts", FOLDER), `${types}/types.d.ts`);
  const parts = ["index", "offline", "react", "tanstack", "testing"];
  writeFileSync(`${types}/program.ts`, parts.map((part) => `export * as ${part} from "./${part}.js";\n`).join(""));
  writeFileSync(`${types}/typed_program.ts`, readText("clients/javascript/test/typed_program.ts").replaceAll("../src/", "./"));
  cpSync(new URL("test/schema", FOLDER), `${types}/schema`, { recursive: true });
  writeFileSync(`${types}/tsconfig.json`, JSON.stringify({ extends: "../../tsconfig.json", include: ["*program.ts"] }));
  assert.equal(tsc("--project", types), "");
});

test("the copies for pages are what their page says, and what the lock names", () => {
  const { packages } = readJson("clients/javascript/package-lock.json");
  const rows = readText("clients/javascript/vendor/README.md").matchAll(/^\| (\w+) \| ([\d.]+) \| .* \| `(\w+)` \|$/gm);
  let count = 0;
  for (const [, name = "", version = "", hash = ""] of rows) {
    count++;
    assert.equal(createHash("sha256").update(readText(`clients/javascript/vendor/${name}/index.js`)).digest("hex"), hash, name);
    assert.equal(packages[`node_modules/${name}`].version, version, `${name}: run npm run vendor`);
  }
  assert.equal(count, 2);
});

test("the lock names a hash for each package, and no address", () => {
  const { packages } = readJson("clients/javascript/package-lock.json");
  assert.ok(!readText("clients/javascript/package-lock.json").includes("resolved"));
  for (const [path, { integrity }] of Object.entries(/** @type {Record<string, any>} */ (packages))) if (path) assert.match(/** @type {any} */ (integrity) ?? "", /^sha512-/, path);
});
