// A small chart: axes with units, and whatever is drawn between them. Sizes are those of the viewBox.
function ticks(low, high, most) {
  const rough = (high - low) / Math.max(most, 1);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}
const DAY = 86400000;
function timeTicks(low, high, most) {
  const steps = [3600e3, 3 * 3600e3, 6 * 3600e3, 12 * 3600e3, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];
  const step = steps.find((n) => (high - low) / n <= most) || steps[steps.length - 1];
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  return { at: found, text: (ms) => (step < DAY ? iso(ms).slice(5, 16).replace("T", " ") : day(ms)) };
}

function chart(options) {
  const o = Object.assign({ width: 360, height: 220, left: 46, right: 12, top: 10, bottom: 38 }, options);
  const x = (v) => o.left + ((v - o.x[0]) / (o.x[1] - o.x[0] || 1)) * (o.width - o.left - o.right);
  const y = (v) => o.height - o.bottom - ((v - o.y[0]) / (o.y[1] - o.y[0] || 1)) * (o.height - o.top - o.bottom);
  const node = draw("svg", { class: "chart", viewBox: `0 0 ${o.width} ${o.height}`, role: "img", "aria-label": o.label || "" });
  const right = o.width - o.right, bottom = o.height - o.bottom;
  const xs = o.xTicks || ticks(o.x[0], o.x[1], 6), ys = o.yTicks || ticks(o.y[0], o.y[1], 5);
  for (const v of ys) {
    node.append(draw("path", { class: "grid", d: `M${o.left} ${y(v)}H${right}` }));
    node.append(draw("text", { x: o.left - 6, y: y(v) + 4, "text-anchor": "end" }, o.yText ? o.yText(v) : String(v)));
  }
  for (const v of xs) {
    const text = o.xText ? o.xText(v) : String(v), half = text.length * 3.4;
    node.append(draw("text", { x: Math.min(x(v), o.width - half - 1), y: bottom + 16, "text-anchor": "middle" }, text));
  }
  node.append(draw("path", { class: "axis", d: `M${o.left} ${o.top}V${bottom}H${right}` }));
  if (o.xName) node.append(draw("text", { x: (o.left + right) / 2, y: o.height - 5, "text-anchor": "middle" }, o.xName));
  if (o.yName) node.append(draw("text", { transform: `translate(12 ${(o.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, o.yName));
  return { node, x, y, o, right, bottom };
}
function line(c, xs, ys, attributes) {
  let path = "", pen = false;
  xs.forEach((v, n) => {
    const w = ys[n];
    if (w === null || w === undefined || Number.isNaN(w)) { pen = false; return; }
    path += `${pen ? "L" : "M"}${c.x(v).toFixed(1)} ${c.y(w).toFixed(1)}`;
    pen = true;
  });
  c.node.append(draw("path", Object.assign({ d: path, fill: "none", "stroke-width": 2 }, attributes)));
}
function level(c, value, name, attributes) {
  const y = c.y(value);
  c.node.append(draw("path", Object.assign({ d: `M${c.o.left} ${y}H${c.right}`, "stroke-width": 1.5 }, attributes)));
  if (name) c.node.append(draw("text", { class: "strong", x: c.right - 4, y: y - 4, "text-anchor": "end" }, name));
}
function upright(c, value, name, attributes, row) {
  const x = c.x(value), left = x > (c.o.left + c.right) / 2;
  c.node.append(draw("path", Object.assign({ d: `M${x} ${c.o.top}V${c.bottom}`, "stroke-width": 1.5 }, attributes)));
  if (name) c.node.append(draw("text", { class: "strong", x: x + (left ? -4 : 4), y: c.o.top + 12 + 14 * (row || 0), "text-anchor": left ? "end" : "start" }, name));
}
const figure = (title, node, note) => el("figure", {}, title ? el("h4", {}, title) : null, node, note ? el("figcaption", {}, note) : null);
function keys(entries) {
  return el("ul", { class: "keys" }, entries.map(([kind, colour, text]) => el("li", {},
    draw("svg", { width: 26, height: 12, viewBox: "0 0 26 12", "aria-hidden": "true" }, kind === "dot"
      ? draw("circle", { cx: 13, cy: 6, r: 3.5, fill: colour })
      : kind === "box" ? draw("rect", { x: 3, y: 1, width: 20, height: 10, fill: colour })
        : draw("path", { d: "M1 6H25", stroke: colour, "stroke-width": kind === "thin" ? 1.5 : 3, "stroke-dasharray": kind === "dash" ? "6 4" : null })), text)));
}
function scale(colours, low, high, unit) {
  const part = 100 / (colours.length - 1);
  const id = `scale-${scale.count = (scale.count || 0) + 1}`;
  return draw("svg", { class: "chart scale", viewBox: "0 0 300 34", role: "img", "aria-label": `colours from ${low} to ${high}, ${unit}` },
    draw("defs", {}, draw("linearGradient", { id }, colours.map((colour, n) => draw("stop", { offset: `${n * part}%`, "stop-color": colour })))),
    draw("rect", { x: 60, y: 2, width: 180, height: 12, fill: `url(#${id})`, stroke: "#8795a1", "stroke-width": 0.5 }),
    draw("text", { x: 54, y: 13, "text-anchor": "end" }, low), draw("text", { x: 246, y: 13 }, high),
    draw("text", { x: 150, y: 29, "text-anchor": "middle" }, unit));
}
