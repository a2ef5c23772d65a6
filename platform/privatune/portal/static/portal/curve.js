// The learning curve: all points first, then live ones over server-sent events; when the stream
// fails, polling takes over.
"use strict";
(() => {
  const box = document.getElementById("curve");
  if (!box) return;
  const label = box.dataset;
  const steps = [];
  const lines = [
    { of: "train_loss", label: label.train, stroke: "#0b6e4f", width: 2 },
    { of: "valid_loss", label: label.valid, stroke: "#c2410c", width: 2, points: { show: true }, spanGaps: true },
    { of: "train_accuracy", label: label.accuracy, stroke: "#64748b", width: 1, scale: "accuracy" },
    { of: "train_rewards_accuracies", label: label.preferred, stroke: "#64748b", width: 1, scale: "accuracy" },
    { of: "train_reward", label: label.reward, stroke: "#0369a1", width: 2, scale: "reward" },
    { of: "valid_reward", label: label.validReward, stroke: "#7c3aed", width: 2, scale: "reward", points: { show: true }, spanGaps: true },
  ].map((line) => ({ ...line, figures: [], value: (_, figure) => figure?.toFixed(4) ?? "–" }));
  let last = 0, plot = null, drawn = "";
  // Between the marks of the steps: there is no step 1.5.
  const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((e) => [1, 2, 5].map((n) => n * 10 ** e));
  const beside = (_, least, most) => [Math.min(1, least), Math.max(2, most)];

  const sizes = () => ({ width: Math.max(280, box.clientWidth), height: 300 });

  // The legend names what there is; a curve that comes later has the whole drawn anew.
  function draw() {
    const found = lines.filter((line) => line.figures.some((each) => each !== null));
    // The loss of rewarded answers is their reward with its sign turned
    const rewarded = found.some((line) => line.of === "valid_reward");
    const present = found.filter((line) => !(rewarded && line.of === "valid_loss"));
    const data = [steps, ...present.map((line) => line.figures)];
    const names = present.map((line) => line.of).join();
    if (plot && names === drawn) return plot.setData(data);
    drawn = names;
    plot?.destroy();
    document.getElementById("curve-empty").hidden = true;
    const axes = [{ label: label.step, incrs: WHOLE }, { label: label.loss }];
    for (const scale of ["accuracy", "reward"]) {
      if (present.some((line) => line.scale === scale)) axes.push({ scale, side: 1, grid: { show: false }, label: label[scale] });
    }
    plot = new uPlot(
      {
        ...sizes(),
        scales: { x: { time: false, range: beside }, accuracy: { range: [0, 1] } },
        axes,
        series: [{ label: label.step, value: (_, step) => step ?? "–" }, ...present.map(({ of, figures, ...series }) => series)],
      },
      data,
      box,
    );
  }

  function take(answer) {
    for (const point of answer.points) {
      // A run that was taken back repeats no step, but a stream that reconnects may.
      if (steps.length && point.step <= steps[steps.length - 1]) continue;
      steps.push(point.step);
      lines.forEach((line) => line.figures.push(point[line.of] ?? null));
    }
    last = Math.max(last, answer.last);
    if (steps.length) draw();
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

  window.addEventListener("resize", () => plot && plot.setSize(sizes()));
  fetchPoints().then((final) => final || follow(), poll);
})();
