// The learning curve, and beside it how answers that rewards are given for change: all points first,
// then live ones over server-sent events; when the stream fails, polling takes over.
"use strict";
(() => {
  const box = document.getElementById("curve");
  if (!box) return;
  const label = box.dataset;
  const steps = [];
  let last = 0;
  // Between the marks of the steps: there is no step 1.5.
  const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((e) => [1, 2, 5].map((n) => n * 10 ** e));
  const beside = (_, least, most) => [Math.min(1, least), Math.max(2, most)];

  // `lines`: what is drawn once there are figures of it; `left`: what the scale on the left is of;
  // `ranges`: scales on the right with their bounds, null where the figures give them, and `right` what
  // each is of.
  function chart(box, { lines, left, right = (scale) => box.dataset[scale], ranges, small = false, without = () => false }) {
    lines = lines.map((line) => ({ ...line, figures: [], value: (_, figure) => figure?.toFixed(4) ?? "–" }));
    let plot = null, drawn = "";
    const sizes = () => ({ width: Math.max(280, box.clientWidth), height: small ? 200 : 300 });
    window.addEventListener("resize", () => plot && plot.setSize(sizes()));

    // The legend names what there is; a curve that comes later has the whole drawn anew.
    function draw() {
      const found = lines.filter((line) => line.figures.some((each) => each !== null));
      const present = found.filter((line) => !without(line.of, found));
      if (small) box.parentElement.hidden = !present.length;
      if (small && !present.length) return;
      const data = [steps, ...present.map((line) => line.figures)];
      const names = present.map((line) => line.of).join();
      if (plot && names === drawn) return plot.setData(data);
      drawn = names;
      plot?.destroy();
      const axes = [{ label: label.step, incrs: WHOLE }, { label: left }];
      const scales = { x: { time: false, range: beside } };
      for (const [scale, range] of Object.entries(ranges)) {
        if (!present.some((line) => line.scale === scale)) continue;
        axes.push({ scale, side: 1, grid: { show: false }, label: right(scale) });
        if (range) scales[scale] = { range };
      }
      const series = present.map(({ of, figures, ...each }) => each);
      plot = new uPlot({ ...sizes(), scales, axes, series: [{ label: label.step, value: (_, step) => step ?? "–" }, ...series] }, data, box);
    }

    const take = (point) => lines.forEach((line) => line.figures.push(point[line.of] ?? null));
    return { take, draw };
  }

  const held = { points: { show: true }, spanGaps: true };
  // What a method measures, each line under its own name: portal/measures.py.
  const told = JSON.parse(document.getElementById("curves").textContent);
  const charts = told.map(({ at, axis, own, share, lines }, place) =>
    chart(document.getElementById(at), {
      lines: lines.map(({ of, label, ink, dots, dash, right }) => ({
        of, label, stroke: ink, width: 2, ...(dots ? held : {}), ...(dash ? { dash: [4, 4], width: 1 } : {}), ...(right ? { scale: "own" } : {}),
      })),
      left: axis,
      right: () => own,
      ranges: own ? { own: share ? [0, 1] : null } : {},
      small: place > 0,
      // The loss of rewarded answers is their reward with its sign turned
      without: (of, found) => of === "valid_loss" && found.some((line) => line.of === "valid_reward"),
    }),
  );
  const answers = document.getElementById("curve-answers");
  if (answers) {
    const of = answers.dataset;
    charts.push(
      chart(answers, {
        lines: [
          { of: "train_completion_length", label: of.length, stroke: "#0b6e4f", width: 2 },
          { of: "valid_completion_length", label: of.validLength, stroke: "#c2410c", width: 2, ...held },
          { of: "train_truncated", label: of.truncated, stroke: "#b45309", width: 1, scale: "share" },
          { of: "train_silent_groups", label: of.silent, stroke: "#64748b", width: 1, scale: "share" },
          { of: "train_grader_errors", label: of.failed, stroke: "#b02525", width: 1, scale: "share" },
          { of: "train_kl", label: of.kl, stroke: "#7c3aed", width: 2, scale: "kl" },
        ],
        left: of.tokens,
        ranges: { share: [0, 1], kl: null },
      }),
    );
  }

  function take(answer) {
    for (const point of answer.points) {
      // A run that was taken back repeats no step, but a stream that reconnects may.
      if (steps.length && point.step <= steps[steps.length - 1]) continue;
      steps.push(point.step);
      charts.forEach((each) => each.take(point));
    }
    last = Math.max(last, answer.last);
    if (!steps.length) return;
    document.getElementById("curve-empty").hidden = true;
    charts.forEach((each) => each.draw());
  }

  async function fetchPoints() {
    const answer = await fetch(`${label.curve}?after=${last}`);
    if (!answer.ok) throw new Error(`curve answered ${answer.status}`);
    const body = await answer.json();
    take(body);
    return body.final;
  }

  function poll() {
    fetchPoints().then((final) => final || setTimeout(poll, 2000), () => setTimeout(poll, 5000));
  }

  function follow() {
    const source = new EventSource(`${label.stream}?after=${last}`);
    source.addEventListener("message", (event) => take(JSON.parse(event.data)));
    source.addEventListener("end", () => source.close());
    source.addEventListener("error", () => {
      source.close();
      poll();
    });
    window.addEventListener("pagehide", () => source.close());
  }

  fetchPoints().then((final) => final || follow(), poll);
})();
