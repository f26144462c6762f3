"use strict";
(() => {
  const root = document.documentElement;
  addEventListener("error", (event) => { root.dataset.error = event.message; });
  // A mark of the picture may lead to a row that is folded.
  const unfold = () => {
    const row = document.getElementById(location.hash.slice(1)), folded = row && row.closest("details");
    if (folded && !folded.open) { folded.open = true; row.scrollIntoView(); }
  };
  addEventListener("hashchange", unfold);
  unfold();
  // A page that a daemon serves is exchanged while it is open, and its picture with it.
  addEventListener("exchanged", start);
  start();

  function start() {
  const plot = document.querySelector(".plot");
  if (!plot) { root.dataset.ready = "yes"; return; }

  const svg = plot.querySelector(".chart");
  const { x: [low, high], width, curves } = JSON.parse(document.getElementById("numbers").textContent);
  const where = document.querySelector(".read .where");
  const values = [...document.querySelectorAll(".read li[data-curve]")].map((li) => [li.querySelector("b"), li.querySelector("small")]);
  const atRest = [where.textContent, values.map(([b, small]) => [b.textContent, small.textContent])];
  const noun = plot.dataset.noun;
  let from = 0, to = 1, place = null, drag = null;

  const make = (name, attributes, parent) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    parent.append(element);
    return element;
  };
  const vertical = { y: svg.dataset.top, height: svg.dataset.end - svg.dataset.top };
  const span = make("rect", { class: "span", ...vertical }, svg);
  const cursor = make("line", { class: "cursor", y1: svg.dataset.top, y2: svg.dataset.end }, svg);
  for (const element of [span, cursor]) element.setAttribute("display", "none");

  const percent = (share) => (100 * (share - from)) / (to - from) + "%";
  const minus = (text) => text.replace("-", "\u2212");
  const short = (v) => {
    const text = String(Number(v.toPrecision(4)));
    const [mantissa, exponent] = (Math.abs(v) < 1e-4 && v !== 0 ? Number(v.toPrecision(4)).toExponential() : text).split("e");
    return minus(mantissa) + (exponent ? "e" + Number(exponent) : "");
  };
  const whole = (v) => minus(Math.round(v).toLocaleString("en-US"));

  function ticks() {
    const group = svg.querySelector(".steps"), a = low + from * (high - low), b = low + to * (high - low);
    const raw = (b - a) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const spacing = Math.max(1, power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999));
    const [unit, suffix] = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]].find(([u]) => spacing >= u);
    group.replaceChildren();
    for (let k = Math.ceil(a / spacing); k * spacing <= b; k++) {
      const share = (k * spacing - low) / (high - low);
      const spot = make("svg", { class: "at", "data-at": share, x: percent(share), y: svg.dataset.foot }, group);
      make("text", { class: "tick x", y: 17, "text-anchor": "middle" }, spot).textContent = k ? whole((k * spacing) / unit) + suffix : "0";
    }
  }

  function zoom(a, b) {
    const least = 2e-4, wide = Math.min(1, Math.max(least, b - a));
    from = Math.min(Math.max(0, a), 1 - wide);
    to = from + wide;
    for (const part of svg.querySelectorAll(".stretch")) {
      const box = part.getAttribute("viewBox").split(" ");
      part.setAttribute("viewBox", [from * width, 0, wide * width, box[3]].join(" "));
    }
    ticks();
    for (const spot of svg.querySelectorAll(".at")) {
      const share = Number(spot.dataset.at);
      spot.setAttribute("x", percent(share));
      spot.setAttribute("display", share < from - 1e-9 || share > to + 1e-9 ? "none" : "inline");
    }
    document.querySelector(".zoom [data-do=all]").disabled = wide === 1;
    show(place);
    look();
  }

  // A reader who has zoomed in must not lose the place.
  function look() { root.dataset.busy = to - from < 1 || place !== null ? "yes" : ""; }

  function rowAt({ s, m, hold }, step) {
    let best = -1;
    for (let i = 0; i < s.length; i++) {
      if (hold && s[i] > step) continue;
      if (best < 0 || Math.abs(s[i] - step) <= Math.abs(s[best] - step)) best = i;
    }
    return best;
  }

  function show(share) {
    place = share;
    look();
    if (share === null) {
      cursor.setAttribute("display", "none");
      where.textContent = atRest[0];
      values.forEach(([b, small], i) => { [b.textContent, small.textContent] = atRest[1][i]; });
      return;
    }
    const step = low + share * (high - low);
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, percent(share));
    cursor.setAttribute("display", "inline");
    where.textContent = noun + " " + whole(step);
    values.forEach(([b, small], i) => {
      const row = rowAt(curves[i], step), { m, l, h } = curves[i];
      b.textContent = row < 0 ? "\u2013" : m[row] === null ? "not finite" : short(m[row]);
      small.textContent = row < 0 || l[row] === null || l[row] === h[row] ? "" : short(l[row]) + " to " + short(h[row]);
    });
  }

  const shareAt = (event) => {
    const box = svg.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (to - from);
  };
  const around = (factor) => {
    const middle = place === null ? (from + to) / 2 : place, left = (middle - from) * factor;
    zoom(middle - left, middle - left + (to - from) * factor);
  };
  const actions = { in: () => around(0.5), out: () => around(2), all: () => zoom(0, 1) };

  plot.addEventListener("pointermove", (event) => {
    show(shareAt(event));
    if (drag === null) return;
    const [a, b] = [drag, place].sort((p, q) => p - q);
    span.setAttribute("x", percent(a));
    span.setAttribute("width", (100 * (b - a)) / (to - from) + "%");
    span.setAttribute("display", "inline");
  });
  plot.addEventListener("pointerleave", () => { if (drag === null) show(null); });
  plot.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || event.target.closest("a")) return;
    drag = shareAt(event);
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointerup", (event) => {
    if (drag === null) return;
    const [a, b] = [drag, shareAt(event)].sort((p, q) => p - q);
    drag = null;
    span.setAttribute("display", "none");
    if (b - a > 0.01 * (to - from)) zoom(a, b);
  });
  plot.addEventListener("pointercancel", () => { drag = null; span.setAttribute("display", "none"); });
  plot.addEventListener("dblclick", actions.all);
  plot.addEventListener("blur", () => show(null));
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
    const action = { "+": "in", "=": "in", "-": "out", "0": "all", Escape: "all" }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(move || action)) return;
    event.preventDefault();
    if (action) { actions[action](); return; }
    const share = (place === null ? from : place) + move * (to - from);
    show(Math.min(to, Math.max(from, share)));
  });
  for (const button of document.querySelectorAll(".zoom button")) button.addEventListener("click", actions[button.dataset.do]);

  document.querySelector(".zoom").hidden = false;
  plot.tabIndex = 0;
  zoom(0, 1);
  root.dataset.ready = "yes";
  }
})();
