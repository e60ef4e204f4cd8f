// What every page has: word that scripts run, what their requests carry, and times by the reader's
// clock, which are in UTC where this does not run.
"use strict";

document.documentElement.classList.add("scripted");

// Where people log in, requests of a page say that they are its own.
const TOKEN = document.querySelector('meta[name="csrf-token"]')?.content;
const OURS = TOKEN ? { "X-CSRF-Token": TOKEN } : {};

const SHOWN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const NAMED = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

function localise(within) {
  for (const each of within.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(each.dateTime);
    each.textContent = SHOWN.format(at);
    each.title = NAMED.format(at); // with the zone
  }
}

localise(document);
document.addEventListener("htmx:after:swap", () => localise(document));
