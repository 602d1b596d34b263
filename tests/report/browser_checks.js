// What the tests ask of a page.
const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility === "visible";
const texts = (selector) => [...document.querySelectorAll(selector)].filter(shown).map((node) => node.textContent.trim());
const openAll = () => { for (const one of document.querySelectorAll("details")) one.open = true; };

const handlers = () => [...document.querySelectorAll("*")].flatMap((node) => node.getAttributeNames()).filter((name) => name.startsWith("on"));

// What reaches beyond the screen, unless it scrolls by itself.
function sideways() {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  return [...document.querySelectorAll("body *")].filter((node) => shown(node) && node.getBoundingClientRect().right > wide + 0.5)
    .map((node) => `${node.tagName} ${node.getAttribute("class") || ""} ${Math.round(node.getBoundingClientRect().right)}`).slice(0, 8)
    .concat([`page ${document.documentElement.scrollWidth} of ${wide}`]);
}

const pictures = () => [...document.querySelectorAll("image")].map((node) => node.getBBox().width > 50 && node.getAttribute("href").startsWith("data:image/"));

function play(audio, done) {
  audio.muted = true;
  const end = (error) => done({ error, duration: audio.duration || 0, at: audio.currentTime });
  audio.addEventListener("timeupdate", () => { if (audio.currentTime > 0) end(null); });
  audio.addEventListener("error", () => end(String(audio.error && audio.error.message)));
  audio.play().catch((error) => end(String(error)));
}

const INTERACTIVE = "a[href], button, input, select, summary, audio[controls], [tabindex='0']";
function nameOf(node) {
  const all = [...document.querySelectorAll(INTERACTIVE)];
  return `${node.tagName} ${all.indexOf(node)} ${(node.getAttribute("aria-label") || node.textContent || node.id).trim().slice(0, 30)}`;
}
const reachable = () => [...document.querySelectorAll(INTERACTIVE)].filter((node) => shown(node) && !node.disabled).map(nameOf);
function focused() {
  const node = document.activeElement;
  if (!node || node === document.body) return { name: "", seen: true };
  const style = getComputedStyle(node), box = node.getBoundingClientRect();
  const outlined = node.tagName === "AUDIO" || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) || node.id === "content";
  return { name: nameOf(node), seen: outlined && box.width > 0 && box.bottom > 0 && box.top < innerHeight };
}

const headings = () => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown).map((node) => Number(node.tagName[1]));
function nameless() {
  const found = [...document.querySelectorAll(INTERACTIVE + ", svg[role=img]")].filter(shown).filter((node) => {
    const label = node.getAttribute("aria-label") || node.textContent.trim() || (node.labels && node.labels.length && node.labels[0].textContent);
    return !label;
  });
  return found.map((node) => node.outerHTML.slice(0, 120));
}

// Contrast by WCAG 2: of every text that is shown with what lies behind it.
function rgba(text) {
  const n = (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  return text.startsWith("rgb") ? [n[0], n[1], n[2], n.length > 3 ? n[3] : 1] : [0, 0, 0, 0];
}
const over = (top, below) => [0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3])).concat([1]);
function luminance(colour) {
  const [r, g, b] = colour.slice(0, 3).map((v) => { const s = v / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(node) {
  const layers = [];
  for (let one = node; one; one = one.parentElement) {
    // Beneath a text in a drawing lie the rectangles of its own group.
    if (one instanceof SVGElement && one.parentElement && one.parentElement.tagName === "g") {
      for (const rect of one.parentElement.querySelectorAll(":scope > rect")) {
        const style = getComputedStyle(rect), colour = rgba(style.fill);
        layers.push([colour[0], colour[1], colour[2], colour[3] * Number(style.fillOpacity)]);
      }
    }
    const colour = rgba(getComputedStyle(one).backgroundColor);
    if (colour[3] > 0) layers.push(colour);
    if (colour[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
}
function contrasts() {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION", "title"].includes(node.tagName) || !shown(node)) continue;
    const style = getComputedStyle(node), below = behind(node);
    const ink = over(rgba(node instanceof SVGElement ? style.fill : style.color), below);
    const [a, b] = [luminance(ink), luminance(below)].sort((x, y) => y - x);
    found.push({ text: text.slice(0, 40), ratio: Math.round(100 * (a + 0.05) / (b + 0.05)) / 100 });
  }
  return found;
}
