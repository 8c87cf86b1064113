/** Puts the page together: what the server says of itself, two panes, the terminal's lines, the colleagues. */

import { keepPage } from "branchline/offline";
import { Colleagues } from "./colleagues.js";
import { MailLinks } from "./links.js";
import { Pane } from "./pane.js";
import { call } from "./session.js";
import { Terminal } from "./terminal.js";

const SHOWN_FIRST = { left: "ben@demo.test", right: "carla@demo.test" };
const REMEMBERED = { colleagues: "branchline.demo.colleagues", branches: "branchline.demo.branches" };

new MailLinks(document.getElementById("link")); // first: a token does not stay in the address

const terminal = new Terminal(document.getElementById("terminal"));
const page = {
  branches: new Map(), // by id; the panes sign in before they are known
  onAim: (pane, collection, record) => terminal.aim(pane, collection, record),
  onLoaded: (pane) => terminal.aimed || pane.aimAtNewest(),
  onChanged: (pane, collection, record) => terminal.changed(pane, collection, record),
  onDrawn: () => entitle([...new Set(panes.map(({ title }) => title))].join(" | ")),
};
const only = new URLSearchParams(location.search).get("only");
const sides = only in SHOWN_FIRST ? [only] : Object.keys(SHOWN_FIRST);
const panes = sides.map((side) => new Pane(page, side, SHOWN_FIRST[side]));
const holder = document.getElementById("panes");
holder.classList.toggle("one", panes.length === 1);
holder.append(...panes.map((pane) => pane.element));

// What is kept on this device is sent another time; what is not would be lost.
addEventListener("beforeunload", (event) => panes.some(({ client }) => client.isUnsafe) && event.preventDefault());

void learnHome();
await learnBranches();
setUpColleagues();
keepPage().catch(() => {}); // a browser that keeps no page opens it with a network only

/** The name of this step in the browser's history, and of a bookmark. */
function entitle(words) {
  const title = `${words} · Branchline`;
  if (document.title !== title) document.title = title;
}

/** Where the psql line finds the database's address, where the server tells it. */
async function learnHome() {
  const { home } = await call("GET", "api/client-config").catch(() => ({}));
  if (home) terminal.home = home;
}

/** The branches' names, by the first person's login; without a network those of the last time. */
async function learnBranches() {
  const take = (items) => {
    page.branches.clear();
    for (const branch of items) page.branches.set(branch.id, branch);
    for (const pane of panes) pane.branchesKnown();
  };
  for (;;) {
    try {
      const { items } = await panes[0].session.request("GET", "api/branches");
      take(items);
      return remember("branches", JSON.stringify(items));
    } catch {
      if (page.branches.size === 0) take(JSON.parse(remembered("branches") ?? "[]"));
      await new Promise((resolve) => setTimeout(resolve, 1_000)); // the panes say what is wrong
    }
  }
}

/** Unless somebody has said otherwise, or wants less motion, there is life on the page from the start. */
function setUpColleagues() {
  const toggle = document.getElementById("colleagues");
  const note = document.getElementById("colleagues-note");
  const colleagues = new Colleagues({
    branches: page.branches,
    onStop: (reason) => {
      toggle.checked = false;
      note.textContent = reason;
    },
  });
  const asked = new URLSearchParams(location.search).get("colleagues") ?? remembered("colleagues");
  toggle.checked = asked ? asked === "on" : !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const apply = () => {
    note.textContent = "";
    if (toggle.checked) colleagues.start();
    else colleagues.stop();
  };
  toggle.addEventListener("change", () => {
    remember("colleagues", toggle.checked ? "on" : "off");
    apply();
  });
  apply();
}

// Where site data is blocked, merely asking for `localStorage` throws: then nothing is remembered.

function remembered(what) {
  try {
    return localStorage.getItem(REMEMBERED[what]);
  } catch {
    return null;
  }
}

function remember(what, text) {
  try {
    localStorage.setItem(REMEMBERED[what], text);
  } catch {
    // As if it had not been asked for.
  }
}
