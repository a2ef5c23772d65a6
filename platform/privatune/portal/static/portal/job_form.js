// Shows the own settings only when they are chosen, and of them those that the chosen method has.
"use strict";
(() => {
  const own = document.getElementById("own-settings");
  if (!own) return;
  const update = () => {
    const chosen = document.querySelector("input[name=preset]:checked");
    own.hidden = !chosen || chosen.value !== "custom";
    own.disabled = own.hidden;
  };
  document.querySelectorAll("input[name=preset]").forEach((each) => each.addEventListener("change", update));
  update();
  const method = document.querySelector("select[name=method]");
  const choose = () =>
    document.querySelectorAll("[data-methods]").forEach((each) => {
      each.hidden = !each.dataset.methods.split(" ").includes(method.value);
      each.querySelectorAll("input, select, textarea").forEach((field) => (field.disabled = each.hidden));
    });
  method.addEventListener("change", choose);
  choose();
})();
