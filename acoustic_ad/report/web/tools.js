"use strict";
// What all views share. Names and notes come from the data: they enter the page as text only, never as markup.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== "") node.append(child instanceof Node ? child : String(child));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const empty = (node) => { node.replaceChildren(); return node; };
const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Times are UTC throughout, written as ISO 8601.
const iso = (ms) => new Date(ms).toISOString();
const minute = (ms) => iso(ms).slice(0, 16).replace("T", " ") + "Z";
const day = (ms) => iso(ms).slice(0, 10);
const parsed = (text) => (text ? Date.parse(text) : null);
const hertz = (hz) => (hz < 999.5 ? `${Math.round(hz)} Hz` : `${(hz / 1000).toFixed(1)} kHz`);
// A date, or a number with its unit, is not broken over two lines.
const prose = (text) => text.split(/(\d{4}-\d\d-\d\d|[+-]?[\d.]+ (?:dB|k?Hz))/).map((part, n) => (n % 2 ? el("span", { class: "whole" }, part) : part));
function ago(ms) {
  const seconds = (Date.parse(DATA.seen_at) - ms) / 1000;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) if (seconds >= length) return `${Math.round(seconds / length)} ${unit} before this page`;
  return "just before this page";
}

// A state is told three times: by colour, by shape and by word. Colours are Okabe and Ito's, with a dark edge.
const SHAPES = {
  alarm: ["#d55e00", "M7 1h6l5 5v8l-5 5H7l-5-5V6z", "M10 5v6M10 13.6v1.6", "#fff"],
  warning: ["#f0b429", "M10 1.5 19 18H1z", "M10 7v5M10 14v1.6", "#1b2733"],
  sensor_fault: ["#a8427f", "M2 2h16v16H2z", "M6 6l8 8M14 6l-8 8", "#fff"],
  no_data: ["#ffffff", "M10 1.5a8.5 8.5 0 1 0 .01 0z", "M7 7.5a3 3 0 1 1 3 3.2v1.2M10 14v1.4", "#1b2733"],
  learning: ["#0072b2", "M10 1 19 10 10 19 1 10z", "M6.5 10h7M10 6.5v7", "#fff"],
  normal: ["#009e73", "M10 1.5a8.5 8.5 0 1 0 .01 0z", "M6 10.2l2.8 2.8L14 7.6", "#fff"],
  off: ["#dfe4e8", "M10 1.5a8.5 8.5 0 1 0 .01 0z", "M8 6.5v7M12 6.5v7", "#1b2733"],
};
const MEANINGS = {
  alarm: "the sound has left the normal range consistently; expect one a year on a healthy machine",
  warning: "the sound has left the normal range; expect twelve a year on a healthy machine",
  sensor_fault: "the newest clip shows a broken or covered microphone",
  no_data: "no clip for longer than is usual",
  learning: "too few clips yet, or new ones after maintenance",
  normal: "the machine sounds as in training",
  off: "the machine stands still",
};
const ORDER = ["alarm", "warning", "sensor_fault", "no_data", "learning", "normal", "off"];
const word = (state) => DATA.words[state] || state;
const shade = (state) => (SHAPES[state] || SHAPES.no_data)[0];

function icon(state, size) {
  const [colour, outline, mark, ink] = SHAPES[state] || SHAPES.no_data;
  return draw("svg", { viewBox: "0 0 20 20", width: size || 20, height: size || 20, "aria-hidden": "true" },
    draw("path", { d: outline, fill: colour, stroke: "#1b2733", "stroke-width": 1.2, "stroke-linejoin": "round" }),
    draw("path", { d: mark, fill: "none", stroke: ink, "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}
const badge = (state, kind) => el("span", { class: `state ${kind || ""}` }, icon(state), word(state));
