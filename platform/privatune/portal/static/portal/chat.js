// Asks base and tuned model the same question and shows both answers as they come, what a model
// thinks before it answers folded away.
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

  // A JSON object a line, as they come.
  async function* lines(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const whole = (held + piece.value).split("\n");
      held = whole.pop();
      for (const line of whole) yield JSON.parse(line);
    }
  }

  async function ask(which, prompt) {
    const out = box.querySelector(`[data-answer=${which}]`);
    const thought = box.querySelector(`[data-thought=${which}]`);
    const thinking = thought.querySelector("pre");
    out.textContent = "…";
    thinking.textContent = "";
    thought.hidden = true;
    const body = new FormData(form);
    body.set("which", which);
    body.set("prompt", prompt);
    body.set("system", box.querySelector("[name=system]").value);
    try {
      const answer = await fetch(box.dataset.url, { method: "POST", body });
      if (!answer.ok) throw new Error((await refusal(answer)) || box.dataset.failed);
      let text = "";
      for await (const news of lines(answer.body)) {
        if (news.reasoning) {
          thought.hidden = false;
          thinking.textContent += news.reasoning;
        }
        text += news.text ?? "";
        if (news.error) text += `${text && "\n"}[${news.error}]`; // after what was said already
        if (text) out.textContent = text;
      }
      if (!text.trim()) out.textContent = box.dataset.empty;
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
