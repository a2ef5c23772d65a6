// Offers the files that the chosen method learns from; one that was chosen before stays, and is told.
"use strict";
(() => {
  const told = document.getElementById("formats");
  if (!told) return;
  const formats = JSON.parse(told.textContent);
  document.querySelectorAll("select[name$=method]").forEach((method) => {
    const scope = method.closest("[data-stage]") || method.form;
    const update = () => {
      const wanted = new Set(formats[method.value]);
      scope.querySelectorAll("option[data-format]").forEach((option) => {
        const fits = wanted.has(option.dataset.format) || option.selected;
        option.hidden = option.disabled = !fits;
      });
    };
    method.addEventListener("change", update);
    update();
  });
})();
