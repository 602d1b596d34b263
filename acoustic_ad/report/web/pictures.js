// Maps of clips (frequency upwards on the mel scale, time to the right) with axes in Hz and s, and the waterfall.
const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
const OCTAVES = [50, 100, 200, 500, 1000, 2000, 4000, 8000, 16000, 32000];

function map(uri, edges, seconds, label, box) {
  const low = mel(edges[0]), high = mel(edges[1]);
  const c = chart({ width: 340, height: 250, left: 52, x: [0, seconds], y: [low, high], label, xName: "time, s", yTicks: [], xTicks: ticks(0, seconds, 5) });
  const top = c.o.top, height = c.bottom - top, width = c.right - c.o.left;
  const y = (hz) => c.bottom - ((mel(hz) - low) / (high - low)) * height;
  c.node.append(draw("image", { href: uri, x: c.o.left, y: top, width, height, preserveAspectRatio: "none" }));
  let above = 1e9;
  for (const hz of OCTAVES.filter((one) => one >= edges[0] && one <= edges[1] * 1.02)) {
    const place = Math.max(y(hz), top);
    if (above - place < 13) continue;
    above = place;
    c.node.append(draw("path", { class: "axis", d: `M${c.o.left - 4} ${place}h4` }), draw("text", { x: c.o.left - 7, y: place + 4, "text-anchor": "end" }, hz < 1000 ? hz : `${hz / 1000}k`));
  }
  c.node.append(draw("text", { transform: `translate(11 ${(top + c.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "frequency, Hz"));
  if (box) {
    const [a, b, lo, hi, db] = box, shape = { x: c.x(a), y: y(hi), width: Math.max(c.x(Math.min(b, seconds)) - c.x(a), 3), height: Math.max(y(lo) - y(hi), 3), fill: "none" };
    c.node.append(draw("rect", Object.assign({ stroke: "#fff", "stroke-width": 4 }, shape)), draw("rect", Object.assign({ stroke: "#1b2733", "stroke-width": 2, "stroke-dasharray": db < 0 ? "6 3" : null }, shape)));
  }
  return c.node;
}

function player(clip, title) {
  if (!clip.sound) return null;
  const from = clip.sound_from ? `, from ${clip.sound_from} s on` : "";
  return el("li", {}, el("b", {}, title), el("div", { class: "quiet" }, `${minute(parsed(clip.at))}${from}`),
    el("audio", { controls: true, preload: "none", src: clip.sound, "aria-label": `${title}: ${clip.clip}` }));
}

function pictures(found) {
  const place = el("div", {}), usual = found.usual;
  const names = found.clips.map((clip, n) => (["Most", "Second most", "Third most"][n] || `${n + 1}th most`));
  function show(number) {
    const clip = found.clips[number];
    empty(place);
    place.append(el("p", {}, el("b", {}, clip.clip), `, ${minute(parsed(clip.at))}, p = ${clip.p}${clip.words ? `: ${clip.words}` : ""}`));
    if (clip.missing) place.append(el("p", { class: "note" }, `No picture: ${clip.missing}`));
    if (!clip.level) return;
    const range = `${found.low} dB (dark) to ${found.high} dB (bright)`;
    place.append(el("div", { class: "maps" },
      figure("This clip", map(clip.level, found.edges, clip.seconds, `Spectrogram of ${clip.clip}`, clip.box), `Level, ${range}${clip.cut ? ", first minute" : ""}`),
      usual && usual.level
        ? figure("The machine when normal", map(usual.level, found.edges, usual.seconds, `Spectrogram of ${usual.clip}, a normal clip`), `${usual.clip}, ${minute(parsed(usual.at))}, the same colours`)
        : figure("The machine when normal", el("p", { class: "note" }, usual && usual.missing ? `No picture: ${usual.missing}` : "No normal clip is known yet.")),
      figure("The difference", map(clip.excess, found.edges, clip.seconds, `Difference of ${clip.clip} from the machine's mean normal frame`, clip.box),
        [el("b", {}, clip.box_words ? `Box: ${clip.box_words}. ` : "No region stands out. "), "Clip minus the machine's mean in training, over 0.1 s."])));
    place.append(scale(DATA.colours.excess, `−${found.limit} dB`, `+${found.limit} dB`, "quieter | louder than normal"));
  }
  const tabs = el("div", { class: "buttons", role: "group", "aria-label": "Which clip" }, found.clips.map((clip, n) => {
    const button = el("button", { type: "button", "aria-pressed": String(n === 0) }, `${names[n]} unusual`);
    button.addEventListener("click", () => { for (const other of tabs.children) other.setAttribute("aria-pressed", String(other === button)); show(n); });
    return button;
  }));
  const players = [...found.clips.map((clip, n) => player(clip, `${names[n]} unusual clip`)), usual ? player(usual, "A normal clip") : null].filter(Boolean);
  const node = el("section", { class: "card", "aria-label": "Clips" }, el("h3", {}, "What is different"));
  if (players.length) node.append(el("p", { class: "quiet" }, `Listen: all clips are ${found.gain_db >= 0 ? "raised" : "lowered"} by the same ${Math.abs(found.gain_db)} dB, at most 10 s each.`), el("ul", { class: "players" }, players));
  if (found.clips.length) { node.append(tabs, place); show(0); } else node.append(el("p", {}, "No scored clip yet."));
  return node;
}

function waterfall(found) {
  const narrow = window.innerWidth < 700, first = parsed(found.first), end = first + found.days * DAY;
  const c = chart({ width: narrow ? 400 : 1040, height: 260, left: 52, x: [first, end], y: [0, 1], yTicks: [], xTicks: timeTicks(first, end, narrow ? 4 : 10).at, xText: day, xName: "day (UTC)", label: "Excess over the machine's normal by band and day" });
  const height = c.bottom - c.o.top, low = Math.log2(found.edges[0]), high = Math.log2(found.edges[1]);
  const y = (hz) => c.bottom - ((Math.log2(hz) - low) / (high - low)) * height;
  c.node.append(draw("rect", { x: c.o.left, y: c.o.top, width: c.right - c.o.left, height, fill: "#e3e8ec" }),
    draw("image", { href: found.picture, x: c.o.left, y: c.o.top, width: c.right - c.o.left, height, preserveAspectRatio: "none", "image-rendering": "pixelated" }));
  for (const hz of OCTAVES.filter((one) => one >= found.edges[0] && one <= found.edges[1])) c.node.append(draw("path", { class: "axis", d: `M${c.o.left - 4} ${y(hz)}h4` }), draw("text", { x: c.o.left - 7, y: y(hz) + 4, "text-anchor": "end" }, hz < 1000 ? hz : `${hz / 1000}k`));
  c.node.append(draw("text", { transform: `translate(11 ${(c.o.top + c.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "third octave, Hz"));
  const basis = found.heard ? `From ${plural(found.heard, "clip")} that were heard again, spread over the days.`
    : "From what the store kept of every clip: the bands that stood out in it by 3 σ and 1 dB or more, averaged over the day's clips; fainter changes are not here.";
  return el("section", { class: "card", "aria-label": "Bands" }, el("h3", {}, "Band by band, day by day"), c.node,
    scale(DATA.colours.excess, `−${found.limit} dB`, `+${found.limit} dB`, "quieter | louder than normal"), el("p", { class: "quiet" }, `${basis} Grey: no clip.`));
}
