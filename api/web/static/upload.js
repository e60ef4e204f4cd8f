// Upload a folder or archives in pieces that survive a broken connection (tus 1.0), and go on to
// the job that reads them. The page works without this, as a plain form for one archive.
"use strict";

const form = document.getElementById("upload");

if (form) {
  const part = (selector) => form.querySelector(selector);
  const [archive, folder, name, drop] = ["#archive", "#folder", "#name", ".drop"].map(part);
  const [chosen, sending, bar, rate, refused] =
    ["#chosen", "#sending", "#sent", "#rate", "#refused"].map(part);
  const button = part("button");
  const LIMIT = Number(form.dataset.limit);
  const ARCHIVE = /\.(zip|tar|tar\.gz|tgz|tar\.zst|tzst|parquet)$/i;
  const PAUSES = [500, 1000, 2000, 5000, 10000, 20000]; // ms between tries that bring nothing

  let picked = null; // what will be sent: { title, size, files: [{ path, file }], isFolder }
  archive.multiple = true;
  archive.required = false; // a folder will do

  const size = (bytes) =>
    bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB`
    : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB`
    : bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes} bytes`;
  const duration = (seconds) =>
    seconds >= 90 ? `${Math.round(seconds / 60)} min` : `${Math.max(1, Math.round(seconds))} s`;
  const total = (files) => files.reduce((sum, each) => sum + each.file.size, 0);

  function refuse(message) {
    refused.textContent = message;
    refused.hidden = false;
  }

  function rest() {
    sending.hidden = true;
    button.disabled = false; // as long as it is not, an upload is under way
  }
  // A page that is gone back to, or loaded anew, may be as it was left.
  rest();
  window.addEventListener("pageshow", (e) => { if (e.persisted) rest(); });

  function pick(files, isFolder) {
    if (!files.length || button.disabled) return;
    const first = isFolder ? files[0].path.split("/")[0] : files[0].file.name.replace(ARCHIVE, "");
    picked = { title: first, size: total(files), files, isFolder };
    refused.hidden = true;
    chosen.textContent = isFolder
      ? `${first}: ${files.length} files, ${size(picked.size)}`
      : `${files.map((each) => each.file.name).join(", ")}: ${size(picked.size)}`;
    if (!name.value) name.value = first;
  }

  const plain = (files) => [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  archive.addEventListener("change", () => pick(plain(archive.files), false));
  folder.addEventListener("change", () => pick(plain(folder.files), true));

  for (const event of ["dragenter", "dragover"]) {
    drop.addEventListener(event, (e) => { e.preventDefault(); drop.classList.add("over"); });
  }
  for (const event of ["dragleave", "drop"]) {
    drop.addEventListener(event, () => drop.classList.remove("over"));
  }
  drop.addEventListener("drop", async (e) => {
    e.preventDefault();
    if (button.disabled) return;
    // Asked for before anything is awaited: the list is emptied when this function pauses.
    const entries = [...e.dataTransfer.items].map((each) => each.webkitGetAsEntry()).filter(Boolean);
    const folders = entries.filter((each) => each.isDirectory);
    if (!folders.length) return pick(plain(e.dataTransfer.files), false);
    if (entries.length > 1) return refuse("Drop one folder, or archives, at a time.");
    chosen.textContent = "Looking into the folder…";
    try {
      pick(await walked(folders[0]), true);
    } catch {
      refuse("The folder could not be read. Choose it by the link below instead.");
    }
  });

  async function walked(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ path: entry.fullPath.replace(/^\//, ""), file }];
    }
    const reader = entry.createReader(), found = [];
    for (;;) { // a reader tells of a hundred at a time
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return found;
      for (const each of some) {
        for (const one of await walked(each)) found.push(one); // may be more than a call takes
      }
    }
  }

  form.addEventListener("submit", (e) => {
    e.preventDefault();
    if (!picked) return refuse("Choose a folder or an archive first.");
    const tooLarge = picked.isFolder ? picked.size > LIMIT
      : picked.files.some((each) => each.file.size > LIMIT);
    if (tooLarge) return refuse(`This is larger than the ${size(LIMIT)} this server accepts at once.`);
    refused.hidden = true;
    sending.hidden = false;
    button.disabled = true;
    send().catch((error) => { rest(); refuse(sentence(error)); });
  });

  async function send() {
    const sources = picked.isFolder ? [await zipped(picked)] : picked.files.map(({ file }) => ({
      blob: file, name: file.name, key: `file ${file.name} ${file.size} ${file.lastModified}`,
    }));
    const course = new Course(sources.reduce((sum, each) => sum + each.blob.size, 0));
    const sent = [];
    for (const source of sources) sent.push(await uploaded(source, course));
    const uploads = sent.map((each) => each.url.split("/").pop());
    rate.textContent = "Received.";
    const headers = { "Content-Type": "application/json", ...OURS };
    // Only where the page is served from this machine or by TLS; else a lost answer may ask twice.
    if (crypto.randomUUID) headers["Idempotency-Key"] = crypto.randomUUID();
    const body = JSON.stringify({ uploads, name: name.value, ...options() });
    const answer = await fetch("/v1/datasets:ingest", { method: "POST", headers, body });
    const said = await answer.json().catch(() => ({})); // a proxy's words are none for programs
    if (!answer.ok || !said.id) throw new Error(told(said));
    await Promise.allSettled(sent.map(forget));
    location.assign(`/jobs/${said.id}`);
  }

  // What else is filled in.
  function options() {
    const filled = [...form.querySelectorAll("input[name]")].filter((each) =>
      each.value && each !== name && each !== archive);
    return Object.fromEntries(filled.map((each) =>
      [each.name, each.type === "number" ? Number(each.value) : each.value]));
  }

  // The same folder is packed to the same bytes, so that a second try goes on where one broke off.
  async function zipped({ files, title }) {
    bar.removeAttribute("value");
    rate.textContent = `Packing ${files.length} files…`;
    const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
    const parts = sorted.map(({ path, file }) =>
      ({ name: path, input: file, lastModified: new Date(file.lastModified) }));
    const blob = await downloadZip(parts).blob();
    const listed = sorted.map(({ path, file }) => `${path} ${file.size} ${file.lastModified}`);
    return { blob, name: `${title}.zip`, key: `folder ${title} ${blob.size} ${print(listed.join())}` };
  }

  // Tells one list of files from another: where anything has changed, an upload begins anew.
  function print(text) {
    let one = 0x811c9dc5, other = 0x9747b28c;
    for (let i = 0; i < text.length; i++) {
      one = Math.imul(one ^ text.charCodeAt(i), 0x01000193);
      other = Math.imul(other ^ text.charCodeAt(i), 0x5bd1e995) + i | 0;
    }
    return `${one >>> 0} ${other >>> 0}`;
  }

  class Course {
    constructor(whole) {
      this.whole = whole;
      this.before = this.resumed = 0; // bytes of finished sources; bytes that needed no sending
      this.started = performance.now();
    }
    show(sent, resumed) {
      const there = this.before + sent;
      const seconds = Math.max((performance.now() - this.started) / 1000, 0.001);
      const speed = Math.max(there - this.resumed - resumed, 1) / seconds;
      bar.value = there / this.whole;
      rate.textContent = `${size(there)} of ${size(this.whole)}, ${size(speed)}/s, ` +
        `${duration((this.whole - there) / speed)} left`;
    }
    finish(source, resumed) {
      this.before += source.blob.size;
      this.resumed += resumed;
    }
  }

  function uploaded(source, course) {
    return new Promise((resolve, reject) => {
      let resumed = null; // what the server had when this began
      const upload = new tus.Upload(source.blob, {
        endpoint: "/v1/uploads",
        headers: OURS,
        metadata: { filename: source.name },
        retryDelays: PAUSES,
        fingerprint: () => Promise.resolve(`headstart ${source.key}`),
        onProgress: (sent) => {
          resumed ??= sent;
          course.show(sent, resumed);
        },
        onError: reject,
        onSuccess: () => {
          course.finish(source, resumed ?? 0);
          resolve(upload);
        },
      });
      upload.findPreviousUploads().then((earlier) => {
        if (earlier.length) upload.resumeFromPreviousUpload(earlier[0]);
        upload.start();
      }, reject);
    });
  }

  // Only when a job has it: until then another try finds it complete.
  async function forget(upload) {
    for (const { urlStorageKey } of await upload.findPreviousUploads()) {
      await upload.options.urlStorage.removeUpload(urlStorageKey);
    }
  }

  function told(problem) {
    const first = (problem.errors || []).slice(0, 3).map((each) => `${each.place}: ${each.message}`);
    return [problem.detail || "The server did not accept this.", ...first].join(" ");
  }

  function sentence(error) {
    const answer = error.originalResponse;
    if (!answer && error.originalRequest || error instanceof TypeError) {
      return "The connection broke. What was sent is kept: press Upload to go on where it was.";
    }
    if (!answer) return error.message;
    try { return told(JSON.parse(answer.getBody())); } catch { return `The server answered ${answer.getStatus()}.`; }
  }
}
