// Prints a page once its images are here: those far below are fetched only when they are looked at.
"use strict";

document.getElementById("print")?.addEventListener("click", async () => {
  const images = [...document.images];
  for (const each of images) each.loading = "eager";
  await Promise.allSettled(images.map((each) => each.decode()));
  window.print();
});
