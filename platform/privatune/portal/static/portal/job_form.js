// Shows the own settings only when they are chosen, and the grader where answers are rewarded.
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
  const grader = document.getElementById("of-reinforcement");
  const reward = () => { grader.hidden = method.value !== "reinforcement"; };
  method.addEventListener("change", reward);
  reward();
})();
