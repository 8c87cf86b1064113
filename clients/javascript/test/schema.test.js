import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { writeSchema } from "../bin/schema.js";
import { readJson, readText } from "./files.js";

const FOLDER = "clients/javascript/test/schema/";

/** A document with one collection. @param {object} notes the schema of one of its fields */
const documentWith = (notes) => ({
  paths: { "/api/leads/{id}": { get: { operationId: "get_leads", responses: { 200: { content: { "application/json": { schema: { $ref: "#/components/schemas/Leads" } } } } } } } },
  components: { schemas: { Leads: { type: "object", required: ["id"], properties: { id: { type: "string" }, notes } } } },
});

test("a server's records become types", () => {
  assert.equal(writeSchema(readJson(`${FOLDER}openapi.json`)), readText(`${FOLDER}schema.d.ts`));
});

for (const [schema, type] of /** @type {[object, string][]} */ ([
  [{ type: ["integer", "null"], minimum: 0 }, "number | null"],
  [{ type: "number" }, "number"],
  [{ type: "boolean" }, "boolean"],
  [{ type: ["string", "null"], enum: ["a", 'b"', null] }, '"a" | "b\\"" | null'],
  [{ type: ["array", "null"], items: { type: ["string", "null"], format: "uuid" } }, "ReadonlyArray<string | null> | null"],
  [{ type: "object" }, "{ readonly [name: string]: unknown }"],
  [{ type: "object", required: ["a"], properties: { a: { type: "string" }, "b-c": {} } }, '{\n    readonly a: string;\n    readonly "b-c"?: unknown;\n  }'],
  [{}, "unknown"],
])) {
  test(`${JSON.stringify(schema)} is ${type}`, () => assert.ok(writeSchema(documentWith(schema)).includes(`  readonly notes?: ${type};\n`)));
}

test("what it does not understand is refused by name", () => {
  assert.throws(() => writeSchema(documentWith({ anyOf: [{ type: "string" }] })), /^TypeError: leads\.notes: anyOf is not understood$/);
  assert.throws(() => writeSchema(documentWith({ type: "array", items: { type: "tuple" } })), /leads\.notes\[\]: the type "tuple" is not understood/);
  assert.throws(() => writeSchema({ paths: {} }), /no collections/);
});

test("the command says what is wrong, and writes nothing", () => {
  const path = fileURLToPath(new URL("../bin/branchline-types.js", import.meta.url));
  for (const [args, words] of /** @type {[string[], RegExp][]} */ ([
    [[], /^branchline-types: expected a server's address/],
    [["http://127.0.0.1:1"], /^branchline-types: http:\/\/127\.0\.0\.1:1\/openapi\.json cannot be reached: /],
  ])) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { encoding: "utf8" });
    assert.deepEqual([status, stdout], [1, ""]);
    assert.match(stderr, words);
  }
});
