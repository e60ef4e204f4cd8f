// A page that asks for news says when the service is away, and keeps open what its reader opened.
"use strict";

const lost = document.getElementById("lost");
const opened = new Set();

if (lost) {
  document.addEventListener("htmx:after:request", ({ detail }) => {
    lost.hidden = detail.ctx.response.status < 500;
  });
  document.addEventListener("htmx:error", ({ detail }) => {
    if (detail.ctx && !detail.ctx.response) lost.hidden = false;
  });
}

document.addEventListener("toggle", ({ target }) => {
  if (target.id && target.isConnected) opened[target.open ? "add" : "delete"](target.id);
}, true);
document.addEventListener("htmx:after:swap", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
});
