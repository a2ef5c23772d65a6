// Draws the length histogram of a reading as bars; also after htmx has swapped the report in.
"use strict";
(() => {
  function draw(box) {
    const bins = JSON.parse(box.dataset.histogram || "[]");
    if (!bins.length || box.childElementCount) return;
    const peak = Math.max(...bins.map((bin) => bin.rows));
    const title = document.createElement("div");
    title.className = "subheader mt-3";
    title.textContent = box.dataset.label;
    const bars = document.createElement("div");
    bars.className = "bars";
    for (const bin of bins) {
      const bar = document.createElement("div");
      const fill = document.createElement("span");
      const name = document.createElement("small");
      fill.style.height = `${Math.max(2, (100 * bin.rows) / peak)}%`;
      fill.title = `${bin.rows}`;
      name.textContent = `≤${bin.up_to}`;
      bar.append(fill, name);
      bars.append(bar);
    }
    box.append(title, bars);
  }
  const all = () => document.querySelectorAll("[data-histogram]").forEach(draw);
  document.addEventListener("htmx:afterSettle", all);
  all();
})();
