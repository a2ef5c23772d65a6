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
  add.addEventListener("click", () => {
    shown += 1;
    update();
    stages[shown - 1].querySelector("select").focus();
  });
  update();
})();
