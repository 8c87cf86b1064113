/**
 * PURE. Record types for TypeScript out of a server's OpenAPI document.
 *
 * It reads what a Branchline server writes of its records: objects, arrays, text, numbers, booleans, null, lists of values. What it does
 * not know it refuses, since a type that says too little would be believed.
 */

/** What narrows a value and has no type in TypeScript. */
const WITHOUT_TYPE = ["description", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "additionalProperties"];
const PLAIN = /** @type {Record<string, string>} */ ({ string: "string", integer: "number", number: "number", boolean: "boolean", null: "null" });

/** @param {string} name */
const quoted = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));

/** @param {any} schema @param {string} indent */
const comment = ({ description }, indent) => (description ? `${indent}/** ${description.replace(/\s+/g, " ").replaceAll("*/", "*\\/")} */\n` : "");

/** @param {any} schema @param {string} where @param {string} indent @returns {string} */
function typeOf(schema, where, indent) {
  const { type, enum: values, items, properties, required, ...rest } = schema;
  const unknown = Object.keys(rest).find((name) => !WITHOUT_TYPE.includes(name));
  if (unknown) throw new TypeError(`${where}: ${unknown} is not understood`);
  if (values) return values.map((/** @type {unknown} */ value) => JSON.stringify(value)).join(" | ");
  if (type === undefined) return "unknown";
  const types = [type].flat().map((each) => {
    if (each === "object") return properties ? objectOf(schema, where, indent) : "{ readonly [name: string]: unknown }";
    if (each === "array") return `ReadonlyArray<${typeOf(items ?? {}, `${where}[]`, indent)}>`;
    if (!Object.hasOwn(PLAIN, each)) throw new TypeError(`${where}: the type ${JSON.stringify(each)} is not understood`);
    return PLAIN[each];
  });
  return types.join(" | ");
}

/** @param {any} schema @param {string} where @param {string} indent @returns {string} */
function objectOf({ properties, required = [] }, where, indent) {
  const inner = `${indent}  `;
  const lines = Object.entries(properties).map(([name, schema]) => {
    const mark = required.includes(name) ? "" : "?";
    return `${comment(schema, inner)}${inner}readonly ${quoted(name)}${mark}: ${typeOf(schema, `${where}.${name}`, inner)};\n`;
  });
  return `{\n${lines.join("")}${indent}}`;
}

/** Writes the types of all records, and `Schema`, which names them by collection. Raises TypeError. @param {any} document */
export function writeSchema({ paths = {}, components = {} }) {
  /** @type {string[]} */ const types = [];
  /** @type {string[]} */ const names = [];
  for (const [path, { get }] of Object.entries(/** @type {Record<string, any>} */ (paths))) {
    const [, collection] = /^\/api\/(\w+)\/\{id\}$/.exec(path) ?? [];
    if (!collection || get?.operationId !== `get_${collection}`) continue;
    const name = get.responses["200"].content["application/json"].schema.$ref.split("/").pop();
    const schema = components.schemas[name];
    if (schema?.type !== "object") throw new TypeError(`${collection}: expected an object, got ${JSON.stringify(schema)}`);
    types.push(`${comment(schema, "")}export interface ${name} ${objectOf(schema, collection, "")}\n`);
    names.push(`  ${quoted(collection)}: ${name};\n`);
  }
  if (!names.length) throw new TypeError("this document has no collections: is it a Branchline server's /openapi.json?");
  return `${types.join("\n")}\n/** For \`connect<Schema>(…)\`. */\nexport interface Schema {\n${names.join("")}}\n`;
}
