// Draws a profile as a flame: a row for each depth, as wide as the time is long; click to look closer, type to find.
(function () {
  "use strict";
  const ROW = 20, LETTER = 6.6, SVG = "http://www.w3.org/2000/svg";

  function time(seconds) {
    return seconds >= 1 ? seconds.toFixed(2) + " s" : (seconds * 1000).toFixed(seconds < 0.01 ? 2 : 1) + " ms";
  }

  function make(name, attributes, parent) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  }

  function link(node, above) {
    node.above = above;
    node.depth = above ? above.depth + 1 : 0;
    (node.c || []).forEach((child) => link(child, node));
  }

  function start(box) {
    const root = JSON.parse(document.getElementById(box.dataset.aqFlame).textContent);
    const plot = box.querySelector("[data-aq-flame-plot]"), said = box.querySelector("[data-aq-flame-said]");
    const reset = box.querySelector("[data-aq-flame-reset]"), search = box.querySelector("[data-aq-flame-search]");
    const hint = said.textContent;
    let shown = root;
    link(root, null);
    box.hidden = false;

    function words(node) {
      const share = root.s ? (node.s / root.s * 100).toFixed(1) : "100.0";
      return node.n + " · " + time(node.s) + " · " + share + " % · " + node.f;
    }

    function frame(svg, node, left, width, wanted) {
      const isAbove = node.depth < shown.depth;
      const group = make("g", { "data-kind": node.k, tabindex: "0", role: "button", "aria-label": words(node) }, svg);
      make("rect", { x: left, y: node.depth * ROW, width: Math.max(width, 0.5), height: ROW - 1, rx: 2 }, group);
      const room = Math.floor((width - 8) / LETTER);
      if (room > 2) {
        const text = make("text", { x: left + 4, y: node.depth * ROW + 13.5 }, group);
        const label = node.n + "  " + time(node.s);
        text.textContent = label.length > room ? node.n.slice(0, room - 1) + "…" : label;
      }
      if (wanted) group.classList.add(wanted(node) ? "is-found" : "is-dim");
      if (isAbove) group.classList.add("is-above");
      const look = () => { shown = node; draw(); };
      group.addEventListener("click", look);
      group.addEventListener("keydown", (event) => { if (event.key === "Enter") look(); });
      group.addEventListener("pointerenter", () => { said.textContent = words(node); });
      group.addEventListener("focus", () => { said.textContent = words(node); });
    }

    function draw() {
      const width = plot.clientWidth || 800, typed = search.value.trim().toLowerCase();
      const wanted = typed ? (node) => (node.n + " " + node.f).toLowerCase().includes(typed) : null;
      const svg = document.createElementNS(SVG, "svg");
      let deepest = 0;
      for (let node = shown.above; node; node = node.above) frame(svg, node, 0, width, wanted);
      const scale = shown.s ? width / shown.s : 0;
      const todo = [[shown, 0]];
      while (todo.length) {
        const [node, left] = todo.pop();
        const span = node === shown ? width : node.s * scale;
        if (span < 0.4) continue;
        deepest = Math.max(deepest, node.depth);
        frame(svg, node, left, span, wanted);
        let next = left;
        for (const child of node.c || []) { todo.push([child, next]); next += child.s * scale; }
      }
      const height = (deepest + 1) * ROW;
      svg.setAttribute("height", height);
      svg.setAttribute("viewBox", "0 0 " + width + " " + height);
      plot.replaceChildren(svg);
      reset.hidden = shown === root;
      said.textContent = shown === root ? hint : words(shown);
    }

    reset.addEventListener("click", () => { shown = root; draw(); });
    search.addEventListener("input", draw);
    plot.addEventListener("pointerleave", () => { said.textContent = shown === root ? hint : words(shown); });
    let width = 0;
    new ResizeObserver(() => {
      if (Math.abs(plot.clientWidth - width) > 1) { width = plot.clientWidth; draw(); }
    }).observe(plot);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-aq-flame]").forEach(start);
  });
})();
