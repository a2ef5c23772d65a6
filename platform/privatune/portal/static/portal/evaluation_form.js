// What is asked of a tuned model beside its base is hidden where a base is chosen.
"use strict";
(() => {
  const tuned = document.getElementById("of-tuned-models");
  const model = document.getElementById("id_model");
  const told = document.getElementById("bases");
  if (!tuned || !model || !told) return;
  const bases = new Set(JSON.parse(told.textContent));
  const update = () => {
    tuned.hidden = bases.has(model.value);
    tuned.disabled = tuned.hidden;
  };
  model.addEventListener("change", update);
  update();
})();
