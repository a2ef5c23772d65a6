// Asks base and tuned model the same question and shows both answers as they come.
"use strict";
(() => {
  const box = document.getElementById("chat");
  if (!box) return;
  const form = box.querySelector("form");

  // The room itself answers in plain text, what stands before it in JSON.
  async function refusal(answer) {
    const text = await answer.text();
    try {
      return JSON.parse(text).message;
    } catch {
      return text;
    }
  }

  async function ask(which, prompt) {
    const out = box.querySelector(`[data-answer=${which}]`);
    out.textContent = "…";
    const body = new FormData(form);
    body.set("which", which);
    body.set("prompt", prompt);
    body.set("system", box.querySelector("[name=system]").value);
    try {
      const answer = await fetch(box.dataset.url, { method: "POST", body });
      if (!answer.ok) throw new Error((await refusal(answer)) || box.dataset.failed);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      out.textContent = "";
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        out.textContent += piece.value;
      }
    } catch (error) {
      out.textContent = error.message || box.dataset.failed;
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    const prompt = form.querySelector("[name=prompt]").value;
    await Promise.all([ask("base", prompt), ask("tuned", prompt)]);
    button.disabled = false;
  });
})();
