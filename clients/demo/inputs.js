/** How a field of each kind is shown, put into an input, and read from it. Values are as the API has them. */

import { formatMoney } from "./collections.js";
import { capitalised } from "./words.js";

const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const choiceWords = (choice) => capitalised(choice.replaceAll("_", " "));

const plain = { text: (value) => value, put: (value) => value, read: (text) => text.trim() || null };

/*
 * `text` is for reading, `put` what the input holds, `read` its way back; null is nothing and never given to the
 * first two. `attributes` are the input's, `element` is "input" unless it is said.
 */
const KINDS = {
  text: { ...plain, attributes: { type: "text" } },
  email: { ...plain, attributes: { type: "text", inputMode: "email", spellcheck: false } },
  phone: { ...plain, attributes: { type: "tel" } },
  lines: { ...plain, element: "textarea", attributes: { rows: 4 } },
  whole: {
    text: (value, { unit }) => (unit ? `${value} ${unit}` : String(value)),
    put: String,
    read: (text) => (text === "" ? null : Number(text)),
    attributes: { type: "number", min: 0, step: 1 },
  },
  money: {
    text: (value, _, { currency }) => formatMoney(value, currency),
    put: (value) => String(value).replace(/\.00$/, ""),
    read: (text) => text || null, // a decimal number stays text, which is exact
    attributes: { type: "number", min: 0, step: 0.01 },
  },
  day: {
    text: (value) => day.format(new Date(value)),
    put: (value) => value,
    read: (text) => text || null,
    attributes: { type: "date" },
  },
  moment: {
    text: (value) => moment.format(new Date(value)),
    put: toLocal,
    read: (text) => (text ? new Date(text).toISOString() : null),
    attributes: { type: "datetime-local" },
  },
  choice: { text: choiceWords, put: (value) => value, read: (text) => text, element: "select", attributes: {} },
  person: { text: (value, _, { nameOf }) => nameOf(value) ?? "Somebody" },
  branch: { text: (value, _, { branches }) => branches.get(value)?.name ?? "Another branch" },
};

/** Whether people edit it; a record's branch and owner stay as they are, and are named beside its title. */
export const isEditable = ({ kind }) => "read" in KINDS[kind];

/** The value in words: `—` for nothing. `context` is `{branches, currency, nameOf}`. */
export function textOf(field, value, context) {
  if (value === null || value === undefined || value === "") return field.kind === "branch" ? "All branches" : "—";
  return KINDS[field.kind].text(value, field, context);
}

/** What an input of this field holds for a value. */
export const putOf = (field, value) => (value === null || value === undefined ? "" : KINDS[field.kind].put(value));

/** The value that an input's text stands for. */
export const readOf = (field, text) => KINDS[field.kind].read(text);

/** An input for a field. */
export function makeInput(field) {
  const { element = "input", attributes } = KINDS[field.kind];
  const input = Object.assign(document.createElement(element), attributes, { name: field.name, autocomplete: "off" });
  if (field.isRequired) input.required = true;
  if (field.max && input.type === "number") input.max = field.max;
  else if (field.max) input.maxLength = field.max;
  for (const choice of field.choices ?? []) input.add(new Option(choiceWords(choice), choice));
  return input;
}

/** Puts a value into an input of `makeInput`. A choice that the page does not know is offered as it is. */
export function fill(input, field, value) {
  const text = putOf(field, value);
  if (field.choices && ![...input.options].some((option) => option.value === text)) input.add(new Option(text, text));
  input.value = text;
}

/** "2026-11-21T14:30", in the time of this place. */
function toLocal(timestamp) {
  const date = new Date(timestamp);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
