// What the model knows: how it learnt, what its calibration promises, how faint a fault it finds, where it is blind.
function curveFigure(curve) {
  const values = [...curve.loss, ...curve.held].filter((v) => v !== null);
  const c = chart({ x: [0, Math.max(...curve.step, 1)], y: [Math.min(...values, 0), Math.max(...values) * 1.05], xName: "training step", yName: "loss", label: "Training and held-out loss" });
  line(c, curve.step, curve.loss, { stroke: "#0072b2" });
  line(c, curve.step, curve.held, { stroke: "#b34700", "stroke-dasharray": "6 4" });
  upright(c, curve.kept, "kept", { stroke: "#5d6b78", "stroke-dasharray": "2 3" });
  return figure("How it learnt", c.node, keys([["line", "#0072b2", "training"], ["dash", "#b34700", "held-out normal clips"]]));
}
function bars(c, edges, counts, attributes) {
  counts.forEach((n, k) => { if (n) c.node.append(draw("rect", Object.assign({ x: c.x(edges[k]) + 0.5, y: c.y(n), width: Math.max(c.x(edges[k + 1]) - c.x(edges[k]) - 1, 0.5), height: c.bottom - c.y(n) }, attributes))); });
}
function histogramFigure(model) {
  const h = model.histogram, most = Math.max(...h.normal, ...(h.anomalous || [0]));
  const c = chart({ x: [h.edges[0], h.edges[h.edges.length - 1]], y: [0, most * 1.15], xName: "clip score (higher: more unusual)", yName: "clips", label: "Histogram of the scores of held-out normal clips with the limit of normal" });
  bars(c, h.edges, h.normal, { fill: "#0072b2", "fill-opacity": 0.7 });
  if (h.anomalous) bars(c, h.edges, h.anomalous, { fill: "none", stroke: "#b34700", "stroke-width": 2 });
  upright(c, model.typical, "median", { stroke: "#5d6b78", "stroke-dasharray": "2 3" }, 1);
  upright(c, model.limit, "limit of normal (1 in 20)", { stroke: "#1b2733" });
  return figure("Calibration", c.node, [keys([["box", "#0072b2", "held-out normal clips"], ...(h.anomalous ? [["line", "#b34700", "clips labelled anomaly"]] : [])]), model.promise]);
}
function uniformFigure(p) {
  const c = chart({ x: [0, 1], y: [0, 1], xName: "p-value", yName: "share of clips", label: "Distribution of p-values of held-out normal clips against a uniform one" });
  line(c, [0, 1], [0, 1], { stroke: "#5d6b78", "stroke-dasharray": "2 3", "stroke-width": 1.5 });
  line(c, p.values, p.values.map((_, n) => (n + 1) / p.values.length), { stroke: "#0072b2" });
  return figure("Do p-values keep their promise?", c.node, `Each recording held out against the others: ${p.n} normal clips in ${p.groups} groups. On the dots they would be exact; above them, false alarms are more than promised. Largest gap ${p.gap}.`);
}
function detectionFigure(detection) {
  const tones = detection.filter((one) => one.kind === "tone" && one.low_hz).map((one) => [Math.sqrt(one.low_hz * one.high_hz), one]).sort((a, b) => a[0] - b[0]);
  if (tones.length < 2) return null;
  const most = Math.max(...tones.map((one) => Math.max(...one[1].levels_db)));
  const low = Math.log10(tones[0][0] * 0.8), high = Math.log10(tones[tones.length - 1][0] * 1.25);
  const c = chart({ x: [low, high], y: [0, most * 1.15], xTicks: [100, 300, 1000, 3000, 10000].map(Math.log10).filter((v) => v >= low && v <= high), xText: (v) => hertz(10 ** v), xName: "frequency of a tone", yName: "found from, dB", label: "Faintest tone that is found, by frequency" });
  line(c, tones.map((one) => Math.log10(one[0])), tones.map((one) => one[1].limit_db), { stroke: "#0072b2" });
  for (const [hz, one] of tones) c.node.append(one.limit_db === null
    ? draw("text", { class: "strong", x: c.x(Math.log10(hz)), y: c.y(most) - 4, "text-anchor": "middle" }, "blind")
    : draw("circle", { cx: c.x(Math.log10(hz)), cy: c.y(one.limit_db), r: 4, fill: "#0072b2" }));
  return figure("How faint a tone it finds", c.node, "Rise of the band's power from which on half of the planted tones are found, at one false alarm in 20 clips. Lower is better.");
}
function rocFigure(labelled) {
  const c = chart({ x: [0, 1], y: [0, 1], xName: "false-positive rate", yName: "true-positive rate", label: `ROC, AUC ${labelled.auc}` });
  line(c, [0, 1], [0, 1], { stroke: "#5d6b78", "stroke-dasharray": "2 3", "stroke-width": 1.5 });
  line(c, labelled.roc[0], labelled.roc[1], { stroke: "#0072b2" });
  const table = labelled.faults.length ? el("div", { class: "scroll" }, el("table", { class: "table" }, el("thead", {}, el("tr", {}, ["fault", "clips", "AUC"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, labelled.faults.map((one) => el("tr", {}, el("td", {}, one.fault), el("td", {}, one.n), el("td", {}, one.auc.toFixed(3))))))) : null;
  return [figure("On labelled clips", c.node, `AUC ${labelled.auc} (95 % ${labelled.ci[0]} to ${labelled.ci[1]}, clips resampled), pAUC ${labelled.pauc}, ${labelled.n[0]} normal and ${labelled.n[1]} anomalous clips.`), table ? figure("By kind of fault", table) : null];
}
function modelCard(model) {
  const card = el("details", { class: "card" }, el("summary", {}, el("h3", {}, "The model behind it")));
  if (model.problem) return fill(card, { open: true }, [el("p", { class: "note" }, model.problem)]);
  card.append(el("h4", {}, "Known blind spots"), model.blind.length ? el("ul", {}, model.blind.map((one) => el("li", {}, one))) : el("p", {}, "None of the planted faults was missed at +4 dB. Real faults may sound like none of them."),
    el("div", { class: "plots" }, histogramFigure(model), model.p ? uniformFigure(model.p) : null, detectionFigure(model.detection), model.curve ? curveFigure(model.curve) : null, model.labelled ? rocFigure(model.labelled) : null),
    el("h4", {}, "What it finds"), el("ul", {}, model.detection_words.map((one) => el("li", {}, one))),
    el("h4", {}, "What it was trained on"), el("dl", {}, model.facts.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value.length > 40 && !value.includes(" ") ? el("code", {}, value) : value)])));
  return card;
}
