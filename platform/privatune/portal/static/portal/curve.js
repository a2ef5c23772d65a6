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
  // `ranges`: scales on the right with their bounds, null where the figures give them.
  function chart(box, { lines, left, ranges, without = () => false }) {
    lines = lines.map((line) => ({ ...line, figures: [], value: (_, figure) => figure?.toFixed(4) ?? "–" }));
    let plot = null, drawn = "";
    const sizes = () => ({ width: Math.max(280, box.clientWidth), height: 300 });
    window.addEventListener("resize", () => plot && plot.setSize(sizes()));

    // The legend names what there is; a curve that comes later has the whole drawn anew.
    function draw() {
      const found = lines.filter((line) => line.figures.some((each) => each !== null));
      const present = found.filter((line) => !without(line.of, found));
      const data = [steps, ...present.map((line) => line.figures)];
      const names = present.map((line) => line.of).join();
      if (plot && names === drawn) return plot.setData(data);
      drawn = names;
      plot?.destroy();
      const axes = [{ label: label.step, incrs: WHOLE }, { label: left }];
      const scales = { x: { time: false, range: beside } };
      for (const [scale, range] of Object.entries(ranges)) {
        if (!present.some((line) => line.scale === scale)) continue;
        axes.push({ scale, side: 1, grid: { show: false }, label: box.dataset[scale] });
        if (range) scales[scale] = { range };
      }
      const series = present.map(({ of, figures, ...each }) => each);
      plot = new uPlot({ ...sizes(), scales, axes, series: [{ label: label.step, value: (_, step) => step ?? "–" }, ...series] }, data, box);
    }

    const take = (point) => lines.forEach((line) => line.figures.push(point[line.of] ?? null));
    return { take, draw };
  }

  const held = { points: { show: true }, spanGaps: true };
  const charts = [
    chart(box, {
      lines: [
        { of: "train_loss", label: label.train, stroke: "#0b6e4f", width: 2 },
        { of: "valid_loss", label: label.valid, stroke: "#c2410c", width: 2, ...held },
        { of: "train_accuracy", label: label.accuracy, stroke: "#64748b", width: 1, scale: "accuracy" },
        { of: "train_rewards_accuracies", label: label.preferred, stroke: "#64748b", width: 1, scale: "accuracy" },
        { of: "train_reward", label: label.reward, stroke: "#0369a1", width: 2, scale: "reward" },
        { of: "train_reward_std", label: label.spread, stroke: "#0369a1", width: 1, dash: [4, 4], scale: "reward" },
        { of: "valid_reward", label: label.validReward, stroke: "#7c3aed", width: 2, scale: "reward", ...held },
      ],
      left: label.loss,
      ranges: { accuracy: [0, 1], reward: null },
      // The loss of rewarded answers is their reward with its sign turned
      without: (of, found) => of === "valid_loss" && found.some((line) => line.of === "valid_reward"),
    }),
  ];
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
