// Sends a chosen or dropped file with progress, then goes to its report. Without JavaScript the form
// still posts.
"use strict";
(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const progress = form.querySelector(".progress");
  const bar = form.querySelector(".progress-bar");
  const alertBox = form.querySelector(".alert");

  function complain(text) {
    progress.hidden = true;
    alertBox.textContent = text;
    alertBox.hidden = false;
  }

  function send(file) {
    const data = new FormData(form);
    data.set("file", file);
    alertBox.hidden = true;
    progress.hidden = false;
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      const percent = Math.round((100 * event.loaded) / event.total);
      bar.style.width = `${percent}%`;
      bar.setAttribute("aria-valuenow", percent);
    });
    request.addEventListener("load", () => {
      const answer = request.response || {};
      if (request.status === 200 && answer.next) window.location.assign(answer.next);
      else complain([answer.message || answer.title || form.dataset.failed, answer.fix].filter(Boolean).join(" "));
    });
    request.addEventListener("error", () => complain(form.dataset.failed));
    request.send(data);
  }

  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files.length) send(input.files[0]);
  });
  if (input.files.length) send(input.files[0]); // chosen before this script had loaded
  for (const kind of ["dragover", "dragleave", "drop"]) {
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
    });
  }
})();
