// Shows as many stages as are filled in, or were shown before, and one more when it is asked for.
"use strict";
(() => {
  const form = document.getElementById("pipeline-form");
  const add = document.getElementById("add-stage");
  if (!form || !add) return;
  const stages = [...form.querySelectorAll("[data-stage]")];
  const filled = (stage) => stage.querySelector("select[name$=training_file]").value || stage.querySelector("[role=alert]");
  const count = form.querySelector("input[name=stages]");
  let shown = Math.max(Number(form.dataset.fewest), Number(count.value), stages.findLastIndex(filled) + 1);
  shown = Math.min(shown, stages.length);
  const update = () => {
    count.value = shown;
    stages.forEach((stage, place) => { stage.hidden = place >= shown; });
    // Nothing comes after the last stage
    stages.forEach((stage, place) => {
      const gate = stage.querySelector("select[name$=gate]");
      gate.disabled = place === shown - 1;
      gate.closest("div").hidden = gate.disabled;
    });
    add.hidden = shown === stages.length;
  };
  // What rewards is asked of the method that learns from it alone
  stages.forEach((stage) => {
    const method = stage.querySelector("select[name$=method]");
    const own = stage.querySelectorAll(
      "[name$=reward_model], [name$=judge_model], [name$=question], [name$=grader], [name$=max_completion_tokens]",
    );
    const learns = () => own.forEach((field) => {
      field.closest("div").hidden = field.disabled = method.value !== "reinforcement";
    });
    method.addEventListener("change", learns);
    learns();
  });
  add.addEventListener("click", () => {
    shown += 1;
    update();
    stages[shown - 1].querySelector("select").focus();
  });
  update();
})();
