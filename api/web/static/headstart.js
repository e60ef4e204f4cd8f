// Upload with progress: the page works without this, as a plain form.
"use strict";

const form = document.getElementById("upload");

if (form) {
  document.documentElement.classList.add("scripted");
  const file = form.querySelector("#archive");
  const name = form.querySelector("#name");
  const drop = form.querySelector(".drop");
  const chosen = form.querySelector("#chosen");
  const sending = form.querySelector("#sending");
  const sent = form.querySelector("#sent");
  const rate = form.querySelector("#rate");
  const refused = form.querySelector("#refused");
  const button = form.querySelector("button");

  const size = (bytes) =>
    bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB`
    : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB`
    : bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes} bytes`;
  const duration = (seconds) =>
    seconds >= 90 ? `${Math.round(seconds / 60)} min` : `${Math.max(1, Math.round(seconds))} s`;

  const refuse = (message) => {
    refused.textContent = message;
    refused.hidden = false;
    sending.hidden = true;
    button.disabled = false;
  };

  const showChoice = () => {
    const picked = file.files[0];
    if (!picked) return;
    refused.hidden = true;
    chosen.textContent = `${picked.name}, ${size(picked.size)}`;
    if (!name.value) name.value = picked.name.replace(/\.(zip|tar|tar\.gz|tgz|gz)$/i, "");
  };

  file.addEventListener("change", showChoice);
  for (const event of ["dragenter", "dragover"]) {
    drop.addEventListener(event, (e) => { e.preventDefault(); drop.classList.add("over"); });
  }
  for (const event of ["dragleave", "drop"]) {
    drop.addEventListener(event, () => drop.classList.remove("over"));
  }
  drop.addEventListener("drop", (e) => {
    e.preventDefault();
    if (!e.dataTransfer.files.length) return;
    file.files = e.dataTransfer.files;
    showChoice();
  });

  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const picked = file.files[0];
    if (!picked) return refuse("Choose an archive first.");
    if (picked.size > Number(form.dataset.limit)) {
      return refuse(`This archive is larger than the ${size(Number(form.dataset.limit))} this server accepts.`);
    }
    send(picked);
  });

  function send(picked) {
    const request = new XMLHttpRequest();
    const started = performance.now();
    refused.hidden = true;
    sending.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", (e) => {
      const seconds = (performance.now() - started) / 1000;
      const speed = e.loaded / Math.max(seconds, 0.001);
      sent.value = e.loaded / picked.size;
      rate.textContent = e.loaded < picked.size
        ? `${size(e.loaded)} of ${size(picked.size)}, ${size(speed)}/s, ${duration((picked.size - e.loaded) / speed)} left`
        : "Received. Checking every image…";
    });
    request.upload.addEventListener("load", () => {
      sent.removeAttribute("value");
      rate.textContent = "Received. Checking every image…";
    });
    request.addEventListener("load", () => {
      const answer = parsed(request.responseText);
      if (request.status < 300 && answer.id) location.assign(`/datasets/${answer.id}`);
      else refuse(sentence(answer));
    });
    request.addEventListener("error", () => refuse("The connection broke. Nothing was kept; try again."));
    request.open("POST", `/v1/datasets?name=${encodeURIComponent(name.value)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(picked);
  }

  function parsed(text) {
    try { return JSON.parse(text); } catch { return {}; }
  }

  function sentence(answer) {
    const first = (answer.errors || []).slice(0, 3).map((each) => `${each.place}: ${each.message}`);
    const detail = answer.detail || "The server did not accept the archive.";
    return first.length ? `${detail} ${first.join(" ")}` : detail;
  }
}
