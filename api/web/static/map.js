// Shows what is known of the dataset that is pointed at on a map, or focused with the keyboard.
"use strict";

for (const map of document.querySelectorAll(".map")) {
  const cards = [...map.querySelectorAll("[data-card]")];
  const show = (event) => {
    const point = event.target.closest?.("a[data-of]");
    if (!point) return;
    const of = point.getAttribute("data-of");
    for (const card of cards) card.hidden = card.dataset.card !== of;
  };
  map.addEventListener("pointerover", show);
  map.addEventListener("focusin", show);
}
