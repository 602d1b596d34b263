// One machine: why it is in its state, its timeline, what is different, its bands, its model.
function facts(row, why) {
  const found = [];
  const add = (name, value) => { if (value) found.push(el("dt", {}, name), el("dd", {}, value)); };
  add("why", why.rule);
  add("state since", row.since ? `${minute(parsed(row.since))}${why.previous && why.previous !== row.state ? `, before that ${word(why.previous)}` : ""}` : null);
  add("alarm", row.alarm);
  add("NE 107", why.ne107);
  if (why.coverage) add("heard", `${why.coverage.received} of ${why.coverage.expected ?? "?"} clips expected in the last ${Math.round(why.coverage.days)} days; ${why.coverage.scored} scored, ${why.coverage.off} off, ${why.coverage.sensor_fault} of a broken sensor, ${Object.entries(why.coverage.failed || {}).map(([reason, n]) => `${n} ${reason}`).join(", ") || "none failed"}`);
  if (why.trend) add("trend", `${signed(why.trend.per_day, 1)} index points a day (99 % ${signed(why.trend.low, 1)} to ${signed(why.trend.high, 1)}) over ${why.trend.days.toFixed(0)} days${why.trend.days_to_alarm !== null ? `; at this slope the ALARM limit is ${why.trend.days_to_alarm.toFixed(0)} days away` : ""}`);
  if (why.false_alarms) add("false alarms", `${why.false_alarms.alarms_per_month.toPrecision(2)} ALARMs and ${why.false_alarms.warnings_per_month.toPrecision(2)} WARNINGs a month to expect of a healthy machine`);
  add("last clip", row.last ? `${minute(parsed(row.last))}, ${ago(parsed(row.last))}` : null);
  return el("dl", {}, found);
}

function timeCard(story) {
  const chosen = el("div", { class: "chosen", role: "status", "aria-live": "polite" }, "Choose a dot to see its clip. Drag over the plot to zoom; click it, then the wheel zooms too.");
  const view = timeline(story, (n) => {
    const parts = [el("b", {}, story.clip[n] === null ? "a clip whose row was pruned" : story.head + story.clip[n]), el("br"), `${minute(parsed(story.begin) + story.t[n] * 1000)}, ${signed(story.z[n] / 100, 1)} σ`, story.p[n] !== null ? `, p = ${story.p[n]}` : "", `, index after it ${story.i[n]}`, story.db[n] !== null ? `, level ${(story.db[n] / 10).toFixed(1)} dBFS` : "", story.words[story.out[n]] ? el("div", {}, `stands out: ${story.words[story.out[n]]}`) : ""];
    empty(chosen).append(...parts.filter((part) => part !== ""));
  });
  const card = el("section", { class: "card", "aria-label": "Over time" }, el("h3", {}, "Over time"), view.buttons, el("div", {}, view.node),
    keys([["dot", "#0072b2", "clip within the normal range"], ["dot", "#b34700", "clip above it (1 in 20 when healthy)"], ["line", "#1b2733", "index, of the loudest chart"], ["line", "#56b4e9", "slow EWMA on the scale of the index"], ["dash", "#b37400", "WARNING limit"], ["thin", "#d55e00", "ALARM limit"], ["box", "#dfe2e5", "no data"]]), chosen);
  if (story.total > story.t.length) card.append(el("p", { class: "quiet" }, `${plural(story.total, "clip")} were scored in this time; of each part the most unusual and a usual one are shown, ${story.t.length} in all.`));
  if (story.alarms.length) card.append(el("h4", {}, "Alarms"), el("div", { class: "scroll" }, el("table", { class: "table" },
    el("thead", {}, el("tr", {}, ["id", "level", "raised", "cleared", "state", "what stands out"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, story.alarms.slice(-20).reverse().map((one) => el("tr", {}, el("td", {}, one.id), el("td", {}, badge(one.level)), el("td", {}, minute(parsed(one.raised_at))), el("td", {}, one.cleared_at ? minute(parsed(one.cleared_at)) : "stands"), el("td", {}, one.state + (one.by ? `, ${one.by}` : "") + (one.comment ? `: ${one.comment}` : "")), el("td", {}, one.stands_out || "")))))));
  return card;
}

function drawMachine(row) {
  const article = empty(document.getElementById("machine")), found = DATA.details[row.name];
  const near = (step) => DATA.rows[row.number + step];
  article.append(el("div", { class: "bar" }, el("nav", { "aria-label": "Machines" }, el("a", { href: "#", id: "back" }, "← Fleet")),
    el("nav", { "aria-label": "Neighbours" }, near(-1) ? el("a", { href: `#machine=${row.number - 1}` }, "previous") : null, near(1) ? el("a", { href: `#machine=${row.number + 1}` }, "next") : null)));
  const card = el("section", { class: "card", "aria-labelledby": "machine-title" }, el("div", { class: "head" }, el("h2", { id: "machine-title", tabindex: -1 }, row.name), badge(row.state, "badge"), el("span", { class: "index" }, row.index === null ? "" : [el("b", {}, row.index), " of 100"])));
  if (row.heard && row.heard !== row.state && (row.heard === "alarm" || row.heard === "warning")) card.append(el("p", { class: "note" }, `Its last scored clips were in ${word(row.heard)}; that stands.`));
  if (row.out) card.append(el("p", { class: "sentence" }, prose(row.out)));
  article.append(card);
  if (!found) {
    card.append(facts(row, {}), el("p", { class: "note" }, "This page has details of the worst machines only. `acoustic-ad report --machine NAME` or a higher `--details` shows this one."));
    return;
  }
  if (found.why.next_step) card.append(el("p", { class: "next" }, el("b", {}, "Next: "), found.why.next_step));
  card.append(facts(row, found.why));
  if (found.why.statement) card.append(el("p", { class: "quiet" }, found.why.statement));
  if (found.story) article.append(timeCard(found.story));
  if (found.pictures) article.append(pictures(found.pictures));
  if (found.waterfall) article.append(waterfall(found.waterfall));
  article.append(modelCard(found.model));
}
