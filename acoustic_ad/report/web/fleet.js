// The fleet: worst first, filtered and searched here, drawn a few dozen rows at a time so that thousands stay quick.
const FLEET = { shown: [], drawn: 0, states: new Set(), text: "", order: "worst" };
const AT_ONCE = 60;
DATA.rows.forEach((row, number) => {
  row.number = number;
  row.found = `${row.name} ${row.out || ""} ${row.alarm || ""} ${word(row.state)}`.toLowerCase();
});

function sparkline(values) {
  const y = (v) => 30 - (clamp(v / 10, -1, 6) + 1) * 4;
  const node = draw("svg", { class: "spark", width: 128, height: 34, viewBox: "0 0 128 34", role: "img",
    "aria-label": values ? `trend: from ${(values[0] / 10).toFixed(1)} to ${(values[values.length - 1] / 10).toFixed(1)} standard deviations of normal clips` : "no trend yet" });
  node.append(draw("path", { d: `M0 ${y(0)}H128`, stroke: "#c3ccd4", "stroke-width": 1 }),
    draw("path", { d: `M0 ${y(20)}H128`, stroke: "#8795a1", "stroke-width": 1, "stroke-dasharray": "3 3" }));
  if (values && values.length) {
    const step = 122 / Math.max(values.length - 1, 1);
    const points = values.map((v, n) => `${(2 + n * step).toFixed(1)},${y(v).toFixed(1)}`);
    node.append(draw("polyline", { points: points.join(" "), fill: "none", stroke: "#1b2733", "stroke-width": 1.6, "stroke-linejoin": "round" }));
    const last = points[points.length - 1].split(",");
    node.append(draw("circle", { cx: last[0], cy: last[1], r: 2.6, fill: "#1b2733" }));
  }
  return node;
}

function rowOf(row) {
  const heard = row.got === undefined ? "not heard yet" : `heard ${row.got} of ${row.due === undefined ? "?" : row.due} clips`;
  return el("li", {}, el("a", { class: "row", href: `#machine=${row.number}` },
    badge(row.state),
    el("span", { class: "name" }, row.name),
    el("span", { class: "index" }, row.index === null ? "no index" : [el("b", {}, row.index), " of 100"]),
    sparkline(row.spark),
    el("span", { class: "small" }, el("span", {}, row.since ? `since ${minute(parsed(row.since))}` : "never heard"),
      el("span", {}, heard + (row.failed ? `, ${row.failed} failed` : ""))),
    el("span", { class: "out" }, row.out ? prose(row.out) : "", row.alarm ? el("span", { class: "small" }, ` ${row.alarm}`) : "")));
}

function drawMore() {
  const list = document.getElementById("rows"), more = document.getElementById("more");
  const part = FLEET.shown.slice(FLEET.drawn, FLEET.drawn + AT_ONCE);
  list.append(...part.map(rowOf));
  FLEET.drawn += part.length;
  const left = FLEET.shown.length - FLEET.drawn;
  more.hidden = left === 0;
  more.textContent = `Show ${Math.min(left, AT_ONCE)} more (${left.toLocaleString("en")} left)`;
}

const SORTS = {
  worst: (a, b) => a.number - b.number,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  index: (a, b) => (b.index === null ? -1 : b.index) - (a.index === null ? -1 : a.index) || a.number - b.number,
  since: (a, b) => (parsed(b.since) || 0) - (parsed(a.since) || 0) || a.number - b.number,
  coverage: (a, b) => share(a) - share(b) || a.number - b.number,
};
const share = (row) => (row.due ? (row.got || 0) / row.due : 2);

function drawFleet() {
  const words = FLEET.text.toLowerCase().split(/\s+/).filter(Boolean);
  FLEET.shown = DATA.rows.filter((row) => (!FLEET.states.size || FLEET.states.has(row.state)) && words.every((w) => row.found.includes(w)));
  FLEET.shown.sort(SORTS[FLEET.order]);
  FLEET.drawn = 0;
  empty(document.getElementById("rows"));
  drawMore();
  const all = FLEET.shown.length === DATA.rows.length;
  document.getElementById("count").textContent = FLEET.shown.length === 0 ? "No machine fits." : all ? plural(DATA.rows.length, "machine") : `${FLEET.shown.length.toLocaleString("en")} of ${plural(DATA.rows.length, "machine")}`;
}

function startFleet() {
  const counts = {};
  for (const row of DATA.rows) counts[row.state] = (counts[row.state] || 0) + 1;
  const filters = document.getElementById("filters");
  for (const state of ORDER.filter((one) => counts[one])) {
    const button = el("button", { type: "button", "aria-pressed": "false", "data-state": state }, icon(state), word(state), el("span", { class: "n" }, counts[state].toLocaleString("en")));
    button.addEventListener("click", () => {
      const on = !FLEET.states.has(state);
      FLEET.states[on ? "add" : "delete"](state);
      button.setAttribute("aria-pressed", String(on));
      drawFleet();
    });
    filters.append(button);
  }
  document.getElementById("search").addEventListener("input", (event) => { FLEET.text = event.target.value; drawFleet(); });
  document.getElementById("order").addEventListener("change", (event) => { FLEET.order = event.target.value; drawFleet(); });
  const more = document.getElementById("more");
  more.addEventListener("click", drawMore);
  if ("IntersectionObserver" in window) new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && !more.hidden) drawMore(); }, { rootMargin: "400px" }).observe(more);
  const drift = document.getElementById("drift");
  if (DATA.drift) { drift.textContent = DATA.drift; drift.hidden = false; }
  document.getElementById("made").textContent = `As of ${minute(parsed(DATA.as_of))}, page made ${minute(parsed(DATA.seen_at))} from ${DATA.store} by acoustic-ad ${DATA.version}`;
  document.getElementById("legend-states").append(...ORDER.map((state) => el("li", {}, badge(state), MEANINGS[state])));
  drawFleet();
}
