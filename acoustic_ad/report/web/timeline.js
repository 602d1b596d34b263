// A machine over time: clips as dots, the slow EWMA and the index with their limits, states, gaps, alarms and events.
function timeline(story, onPick) {
  const begin = parsed(story.begin), end = begin + Math.max(story.span, 3600) * 1000;
  const at = story.t.map((s) => begin + s * 1000);
  const narrow = window.innerWidth < 700;
  const W = narrow ? 400 : 1040, left = 44, right = 12, zTop = 30, zBottom = narrow ? 160 : 190, iTop = zBottom + 26, iBottom = iTop + (narrow ? 120 : 140), sTop = iBottom + 8, H = sTop + 58;
  let from = begin, to = end, picked = -1;
  const node = draw("svg", { class: "chart timeline", viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: 0,
    "aria-label": "Timeline: clip scores, health index, states. Arrow keys step through the clips, plus and minus zoom." });
  const x = (ms) => left + ((ms - from) / (to - from)) * (W - left - right);
  const back = (px) => from + ((px - left) / (W - left - right)) * (to - from);
  const zLow = -3, zHigh = 8;
  const zy = (z) => zBottom - ((clamp(z, zLow, zHigh) - zLow) / (zHigh - zLow)) * (zBottom - zTop);
  const iy = (v) => iBottom - (clamp(v, 0, 100) / 100) * (iBottom - iTop);
  const inside = (ms) => ms >= from && ms <= to;

  function frame() {
    for (const z of [-2, 0, 2, 4, 6, 8]) node.append(draw("path", { class: "grid", d: `M${left} ${zy(z)}H${W - right}` }), draw("text", { x: left - 6, y: zy(z) + 4, "text-anchor": "end" }, z));
    for (const v of [0, 50, 80, 100]) node.append(draw("path", { class: "grid", d: `M${left} ${iy(v)}H${W - right}` }), draw("text", { x: left - 6, y: iy(v) + 4, "text-anchor": "end" }, v));
    node.append(draw("text", { class: "strong", x: left, y: zTop - 8 }, narrow ? "clip scores (σ of normal clips)" : "clip scores, in standard deviations (σ) of normal clips"));
    node.append(draw("text", { class: "strong", x: left, y: iTop - 8 }, "health index"));
    const marks = timeTicks(from, to, narrow ? 4 : 9);
    for (const ms of marks.at) node.append(draw("path", { class: "grid", d: `M${x(ms)} ${zTop}V${iBottom}` }), draw("text", { x: clamp(x(ms), left + 20, W - 34), y: H - 6, "text-anchor": "middle" }, marks.text(ms)));
    node.append(draw("path", { class: "axis", d: `M${left} ${zTop}V${zBottom}H${W - right}M${left} ${iTop}V${iBottom}H${W - right}` }));
  }
  function limits() {
    for (const [value, name, state] of [[50, "WARNING limit", "warning"], [80, "ALARM limit", "alarm"]]) {
      node.append(draw("path", { d: `M${left} ${iy(value)}H${W - right}`, stroke: state === "alarm" ? "#d55e00" : "#b37400", "stroke-width": 1.5, "stroke-dasharray": state === "alarm" ? null : "6 4" }));
      node.append(draw("text", { class: "strong halo", x: left + 4, y: iy(value) - 3 }, name));
    }
    node.append(draw("path", { d: `M${left} ${zy(1.645)}H${W - right}`, stroke: "#5d6b78", "stroke-dasharray": "2 3" }));
  }
  function states() {
    node.append(draw("rect", { x: left, y: sTop, width: W - left - right, height: 16, fill: "#fff", stroke: "#8795a1", "stroke-width": 0.6 }));
    story.states.forEach(([start, state, rule], n) => {
      const a = Math.max(begin + start * 1000, from), next = story.states[n + 1];
      const b = Math.min(next ? begin + next[0] * 1000 : end, to);
      if (b <= a) return;
      const width = Math.max(x(b) - x(a), 1.5);
      const part = draw("g", {}, draw("rect", { x: x(a), y: sTop, width, height: 16, fill: shade(state), "fill-opacity": 0.55, stroke: "#1b2733", "stroke-width": 0.4 }), draw("title", {}, `${word(state)} from ${minute(a)}: ${rule}`));
      if (width > word(state).length * 7.5 + 8) part.append(draw("text", { x: x(a) + 5, y: sTop + 12, class: "strong" }, word(state)));
      if (state === "no_data") node.append(draw("rect", { x: x(a), y: zTop, width, height: iBottom - zTop, fill: "#5d6b78", "fill-opacity": 0.12 }));
      node.append(part);
    });
  }
  function lines() {
    const shown = at.map((_, n) => n).filter((n) => inside(at[n]));
    const first = Math.max((shown[0] ?? 0) - 1, 0), last = Math.min((shown[shown.length - 1] ?? -1) + 1, at.length - 1);
    const clip = `clip${timeline.count = (timeline.count || 0) + 1}`;
    node.append(draw("clipPath", { id: clip }, draw("rect", { x: left, y: zTop - 6, width: W - left - right, height: H - zTop })));
    const group = draw("g", { "clip-path": `url(#${clip})` });
    const path = (values, y) => values.slice(first, last + 1).map((v, n) => `${n ? "L" : "M"}${x(at[first + n]).toFixed(1)} ${y(v).toFixed(1)}`).join("");
    if (at.length) {
      group.append(draw("path", { d: path(story.e, iy), fill: "none", stroke: "#56b4e9", "stroke-width": 2.5 }));
      group.append(draw("path", { d: path(story.i, iy), fill: "none", stroke: "#1b2733", "stroke-width": 1.8 }));
    }
    const r = shown.length > 250 ? 2 : shown.length > 80 ? 2.6 : 3.4;
    for (const n of shown) {
      const z = story.z[n] / 100, colour = z >= 1.645 ? "#b34700" : "#0072b2";
      group.append(z > zHigh
        ? draw("path", { d: `M${x(at[n])} ${zTop - 3}l4 7h-8z`, fill: colour })
        : draw("circle", { cx: x(at[n]).toFixed(1), cy: zy(z).toFixed(1), r, fill: colour, "fill-opacity": 0.75 }));
    }
    if (picked >= 0 && inside(at[picked])) group.append(
      draw("path", { d: `M${x(at[picked])} ${zTop}V${iBottom}`, stroke: "#1b2733", "stroke-width": 1 }),
      draw("circle", { cx: x(at[picked]), cy: zy(story.z[picked] / 100), r: 7, fill: "none", stroke: "#1b2733", "stroke-width": 2 }));
    node.append(group);
  }
  function marks() {
    for (const alarm of story.alarms) {
      const raised = parsed(alarm.raised_at), said = `${word(alarm.level)} ${alarm.id} raised ${minute(raised)}, ${alarm.state}: ${alarm.rule || ""}`;
      if (inside(raised)) node.append(draw("g", { transform: `translate(${x(raised) - 8} ${sTop + 19})` }, draw("title", {}, said), icon(alarm.level, 16)),
        draw("path", { d: `M${x(raised)} ${iTop - 4}V${sTop}`, stroke: "#d55e00", "stroke-width": 1, "stroke-dasharray": "2 2" }));
    }
    for (const event of story.events) {
      const ms = begin + event.at * 1000;
      if (!inside(ms)) continue;
      const name = { maintenance: "maintenance", "false-alarm": "false alarm", "confirmed-fault": "confirmed fault" }[event.kind] || event.kind;
      node.append(draw("path", { d: `M${x(ms)} ${zTop}V${sTop + 16}`, stroke: "#009e73", "stroke-width": 2 }),
        draw("g", {}, draw("title", {}, `${name} ${minute(ms)} ${event.note} ${event.by}`), draw("path", { d: `M${x(ms) - 6} ${sTop + 30}l6 -10 6 10z`, fill: "#009e73", stroke: "#1b2733" })),
        draw("text", { class: "strong", x: clamp(x(ms), left + 40, W - 60), y: sTop + 38, "text-anchor": "middle", dy: 3 }, name));
    }
  }
  function redraw() { empty(node); frame(); limits(); states(); lines(); marks(); }
  function show(a, b) {
    const least = 2 * 3600e3, width = clamp(b - a, Math.min(least, end - begin), end - begin);
    from = clamp((a + b) / 2 - width / 2, begin, end - width);
    to = from + width;
    redraw();
  }
  const zoom = (factor, centre) => { const c = centre ?? (from + to) / 2; show(c - (c - from) * factor, c + (to - c) * factor); };
  function pick(n) {
    if (n < 0 || n >= at.length) return;
    picked = n;
    if (!inside(at[n])) show(at[n] - (to - from) / 2, at[n] + (to - from) / 2); else redraw();
    onPick(n);
  }
  const place = (event) => ((event.clientX - node.getBoundingClientRect().left) / node.getBoundingClientRect().width) * W;
  let start = null, veil = null;
  node.addEventListener("pointerdown", (event) => { start = place(event); });
  node.addEventListener("pointermove", (event) => {
    if (start === null || event.buttons === 0 || Math.abs(place(event) - start) < 6) return;
    if (!veil) { node.setPointerCapture(event.pointerId); veil = draw("rect", { y: zTop, height: iBottom - zTop, fill: "#0072b2", "fill-opacity": 0.15 }); }
    if (!veil.parentNode) node.append(veil);
    const [a, b] = [start, place(event)].sort((p, q) => p - q);
    veil.setAttribute("x", Math.max(a, left));
    veil.setAttribute("width", Math.max(b - Math.max(a, left), 0));
  });
  node.addEventListener("pointercancel", () => { start = null; if (veil) veil.remove(); veil = null; });
  node.addEventListener("pointerup", (event) => {
    const here = place(event);
    if (veil) { const [a, b] = [start, here].sort((p, q) => p - q); veil.remove(); veil = null; show(back(a), back(b)); }
    else if (start !== null) {
      let best = -1, near = 1e9;
      const py = ((event.clientY - node.getBoundingClientRect().top) / node.getBoundingClientRect().height) * H;
      at.forEach((ms, n) => {
        if (!inside(ms)) return;
        const dx = x(ms) - here, dy = py <= zBottom + 6 ? (zy(story.z[n] / 100) - py) / 2 : 0, d = dx * dx + dy * dy;
        if (d < near) { near = d; best = n; }
      });
      if (best >= 0) pick(best);
    }
    start = null;
  });
  node.addEventListener("wheel", (event) => {
    if (document.activeElement !== node && !event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, back(place(event)));
  }, { passive: false });
  node.addEventListener("keydown", (event) => {
    const act = { ArrowLeft: () => pick(picked < 0 ? at.length - 1 : picked - 1), ArrowRight: () => pick(picked + 1), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Home: () => pick(0), End: () => pick(at.length - 1), "0": () => show(begin, end) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  const button = (name, title, act) => el("button", { type: "button", title, "aria-label": title, on: { click: act } }, name);
  const pan = (part) => show(from + part * (to - from), to + part * (to - from));
  const buttons = el("div", { class: "buttons", role: "group", "aria-label": "Zoom" },
    button("+", "zoom in", () => zoom(0.5)), button("−", "zoom out", () => zoom(2)), button("◀", "earlier", () => pan(-0.5)), button("▶", "later", () => pan(0.5)),
    [7, 30].filter((n) => n * DAY < end - begin).map((n) => button(`${n} d`, `last ${n} days`, () => show(end - n * DAY, end))),
    button("all", "whole time", () => show(begin, end)),
    button("‹ clip", "previous clip", () => pick(picked < 0 ? at.length - 1 : picked - 1)), button("clip ›", "next clip", () => pick(picked < 0 ? 0 : picked + 1)));
  redraw();
  return { node, buttons, pick };
}
