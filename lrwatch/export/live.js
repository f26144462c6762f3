"use strict";
// Keeps a page up to date: looks every few seconds, and exchanges <main> when it has changed. It waits while somebody
// selects text or has zoomed into a picture; the focus, unfolded rows and the place on the page stay.
(() => {
  const root = document.documentElement, seconds = {{ refresh }};
  let shown = null, missed = 0;

  const busy = () => document.hidden || root.dataset.busy === "yes" || !getSelection().isCollapsed;
  const key = (element) => element && (element.id || element.getAttribute("href"));

  function exchange(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html"), old = document.querySelector("main");
    const main = fresh.querySelector("main");
    if (!main || text === shown) return;
    shown = text;
    const focused = old.contains(document.activeElement) ? key(document.activeElement) : null;
    const open = new Set([...old.querySelectorAll("details[open]")].map((one) => one.id));
    for (const one of main.querySelectorAll("details")) if (one.id && open.has(one.id)) one.open = true;
    const numbers = document.getElementById("numbers"), next = fresh.getElementById("numbers");
    if (numbers && next) numbers.textContent = next.textContent;
    old.replaceWith(document.adoptNode(main));
    document.title = fresh.title;
    if (focused) [...main.querySelectorAll("a, [id]")].find((one) => key(one) === focused)?.focus({ preventScroll: true });
    dispatchEvent(new Event("exchanged"));
  }

  async function look() {
    if (!busy()) {
      try {
        const answer = await fetch(location.pathname, { cache: "no-store" });
        const text = await answer.text();
        missed = 0;
        if (answer.ok && !busy()) exchange(text);
        root.dataset.live = answer.ok ? "yes" : "gone";
      } catch {
        if (++missed > 1) root.dataset.live = "lost";
      }
    }
    setTimeout(look, seconds * 1000);
  }

  // Up and down, and j and k, go from run to run.
  addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key], runs = [...document.querySelectorAll("a.run")];
    if (!move || !runs.length || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea")) return;
    event.preventDefault();
    const at = runs.indexOf(document.activeElement);
    runs[at < 0 ? (move > 0 ? 0 : runs.length - 1) : Math.min(runs.length - 1, Math.max(0, at + move))].focus();
  });

  root.dataset.live = "yes";
  setTimeout(look, seconds * 1000);
})();
