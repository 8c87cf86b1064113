/** Small matters of wording. */

export const capitalised = (word) => word[0].toUpperCase() + word.slice(1);

export const sentence = (text) => capitalised(/[.!?]$/.test(text) ? text : `${text}.`);

/** The beginning of what is too long for a line. */
export const shortened = (value) => (String(value).length > 60 ? `${String(value).slice(0, 59)}…` : String(value));

const AGES = [[60_000, "min"], [3_600_000, "h"], [86_400_000, "d"]];

/** "5 min", "3 h", "12 d": how long before `now` (Unix milliseconds) a timestamp lies. */
export function ageOf(timestamp, now) {
  const age = now - Date.parse(timestamp);
  const [unit, word] = AGES.findLast(([length]) => age >= length) ?? [];
  return unit ? `${Math.floor(age / unit)} ${word}` : "now";
}

/** "14:03" today, "20 Nov, 14:03" before. */
export function timeOf(date) {
  const isToday = date.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" });
}
