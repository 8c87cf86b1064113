/**
 * What each pane shows, in the page's address: so that back, reload and a link work. `left.status=won` is of the left pane.
 */

const NAMES = ["person", "list", "view", "branch", "status", "sort", "find", "record"];

/** `{person?, list?, view?, branch?, status?, sort?, find?, record?}` of one side. */
export function readAddress(side) {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, query.get(`${side}.${name}`) ?? undefined]));
}

/** Writes what a side shows; empty values are left out. `isStep`: one that "back" takes back. */
export function writeAddress(side, shown, isStep) {
  const query = new URLSearchParams(location.search);
  for (const name of NAMES) {
    if (shown[name]) query.set(`${side}.${name}`, shown[name]);
    else query.delete(`${side}.${name}`);
  }
  const search = query.size > 0 ? `?${query}` : location.pathname;
  if (search === location.search) return;
  if (isStep) history.pushState(null, "", search);
  else history.replaceState(null, "", search);
}

/** Takes out of the address what it says of a side that is not so. */
export function correctAddress(side, shown) {
  const query = new URLSearchParams(location.search);
  const wrong = NAMES.filter((name) => query.has(`${side}.${name}`) && query.get(`${side}.${name}`) !== (shown[name] || null));
  if (wrong.length === 0) return;
  for (const name of wrong) {
    if (shown[name]) query.set(`${side}.${name}`, shown[name]);
    else query.delete(`${side}.${name}`);
  }
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}

/** The address of a page with this side alone, as it is now. */
export function addressOf(side, shown) {
  const query = new URLSearchParams([["only", side]]);
  for (const name of NAMES) if (shown[name]) query.set(`${side}.${name}`, shown[name]);
  return `?${query}`;
}
