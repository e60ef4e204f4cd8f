// Shows what the model says of an image: the file goes to the API as it is, and nothing is kept.
"use strict";

const box = document.getElementById("try");

if (box) {
  const part = (selector) => box.querySelector(selector);
  const [input, drop, seen, said, refused, alike] =
    ["#image", ".drop", "#seen", "#said", "#unseen", "#most-alike"].map(part);
  let latest = 0; // an answer that comes after the next question is not shown

  function row({ name, probability }) {
    const [line, bar] = [document.createElement("li"), document.createElement("progress")];
    bar.max = 1;
    bar.value = probability;
    bar.setAttribute("aria-label", `probability of ${name}`);
    line.append(`${name} `, `${(100 * probability).toFixed(1)} %`, bar);
    return line;
  }

  function figure({ name, similarity, href }) {
    const [whole, image, words] = ["figure", "img", "figcaption"].map((tag) => document.createElement(tag));
    [image.src, image.alt, image.width, image.height] = [href, `a training image of ${name}`, 64, 64];
    words.textContent = `${name}, ${Number(similarity).toFixed(2)}`;
    whole.append(image, words);
    return whole;
  }

  async function draw(file) {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, 320 / Math.max(image.width, image.height));
    [seen.width, seen.height] = [image.width, image.height].map((side) => Math.max(1, side * scale));
    seen.getContext("2d").drawImage(image, 0, 0, seen.width, seen.height);
  }

  async function ask(file) {
    const asked = (latest += 1);
    refused.hidden = true;
    let answer, told;
    try {
      const headers = { "Content-Type": file.type || "application/octet-stream", ...OURS };
      answer = await fetch(box.dataset.address, { method: "POST", body: file, headers });
      told = await answer.json();
    } catch {
      told = { detail: "The service could not be reached." };
    }
    if (asked !== latest) return;
    if (!answer?.ok) {
      refused.textContent = told.detail;
      refused.hidden = false;
      said.replaceChildren();
      seen.hidden = alike.hidden = true;
      return;
    }
    said.replaceChildren(...told.classes.map(row));
    alike.lastElementChild.replaceChildren(...told.neighbours.map(figure));
    alike.hidden = !told.neighbours.length;
    await draw(file).then(() => { seen.hidden = false; }, () => { seen.hidden = true; });
  }

  input.addEventListener("change", () => input.files.length && ask(input.files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
    });
  }
}
