// A page of panels: each asks for its answer when it comes into view, and again while it is seen. Time series are
// drawn by chart.js; numbers, gauges and tables here. Alerts that fired are bands in the charts whose series they fit.
(function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const ROW_PIXELS = 30, GAP_PIXELS = 8;  // Grafana's grid, so that an imported page keeps its proportions
  const SEVERITIES = new Set(["ok", "info", "warning", "critical"]);

  function make(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function draw(tag, attributes, parent) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (parent) parent.append(made);
    return made;
  }

  function tone(severity) { return SEVERITIES.has(severity) ? `is-${severity}` : ""; }

  // The severity of the highest step that a value reaches.
  function meaning(value, steps) {
    let found = "", reached = -Infinity;
    for (const step of steps) {
      const from = step.value === null ? -Infinity : step.value;
      if (value !== null && value >= from && from >= reached) { found = step.severity; reached = from; }
    }
    return found;
  }

  // -- one number -------------------------------------------------------------------------------------------------

  function spark(values) {
    const there = values.filter((value) => value !== null);
    if (there.length < 2) return null;
    const low = Math.min(...there), span = Math.max(...there) - low || 1;
    const svg = draw("svg", { class: "aq-spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" });
    let path = "", isPen = false;
    values.forEach((value, place) => {
      if (value === null) { isPen = false; return; }
      const x = (place / (values.length - 1)) * 100, y = 22 - ((value - low) / span) * 20;
      path += `${isPen ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`;
      isPen = true;
    });
    draw("path", { d: path }, svg);
    return svg;
  }

  function stat(place, data, options) {
    const items = data.numbers.map((one) => {
      const item = make("div", `aq-stat ${tone(one.severity)}`);
      item.append(make("b", "aq-stat-value", window.alphaqUnits.format(one.value, options.unit)));
      item.append(make("span", "aq-stat-name", one.name));
      item.title = `${one.name}: ${one.value}`;
      const line = data.numbers.length <= 6 ? spark(one.spark) : null;
      if (line) item.append(line);
      return item;
    });
    place.replaceChildren(...items);
    place.className = "aq-panel-body aq-stats";
    place.dataset.count = String(Math.min(data.numbers.length, 6));
  }

  // Where no maximum was given: the whole of a share, else a round number that holds value and limits.
  function bounds(options, numbers) {
    const low = options.minimum === null ? 0 : options.minimum;
    if (options.maximum !== null) return [low, options.maximum];
    if (options.unit === "percent") return [low, 100];
    if (options.unit === "ratio") return [low, 1];
    const top = Math.max(low, ...numbers.map((one) => one.value || 0), ...options.steps.map((one) => one.value || 0));
    const power = 10 ** Math.floor(Math.log10(Math.max(top - low, 1e-9)));
    return [low, low + Math.ceil((top - low) / power) * power || 1];
  }

  function arc(from, to, radius) {
    const at = (share) => { const angle = Math.PI * (1 - share); return [50 + radius * Math.cos(angle), 50 - radius * Math.sin(angle)]; };
    const [x0, y0] = at(from), [x1, y1] = at(to);
    return `M${x0.toFixed(2)} ${y0.toFixed(2)}A${radius} ${radius} 0 0 1 ${x1.toFixed(2)} ${y1.toFixed(2)}`;
  }

  function gauge(place, data, options) {
    const [low, high] = bounds(options, data.numbers);
    const share = (value) => Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
    const items = data.numbers.map((one) => {
      const item = make("div", `aq-gauge ${tone(one.severity)}`);
      const svg = draw("svg", { viewBox: "0 0 100 56", role: "img" });
      draw("title", {}, svg).textContent = `${one.name}: ${window.alphaqUnits.format(one.value, options.unit)}`;
      draw("path", { class: "aq-gauge-back", d: arc(0, 1, 40) }, svg);
      const limits = options.steps.filter((step) => step.value !== null && step.value > low && step.value < high);
      limits.forEach((step, number) => {
        const end = number + 1 < limits.length ? share(limits[number + 1].value) : 1;
        draw("path", { class: `aq-gauge-limit ${tone(step.severity)}`, d: arc(share(step.value), end, 47) }, svg);
      });
      if (one.value !== null && share(one.value) > 0) draw("path", { class: "aq-gauge-value", d: arc(0, share(one.value), 40) }, svg);
      draw("text", { x: 50, y: 49, "text-anchor": "middle" }, svg).textContent = window.alphaqUnits.format(one.value, options.unit);
      item.append(svg, make("span", "aq-stat-name", one.name));
      return item;
    });
    place.replaceChildren(...items);
    place.className = "aq-panel-body aq-gauges";
    place.dataset.count = String(Math.min(data.numbers.length, 6));
  }

  // -- a table ----------------------------------------------------------------------------------------------------

  function table(place, data, options) {
    const numbers = new Set(data.numbers);
    const found = make("table", "aq-table"), head = found.createTHead().insertRow(), body = found.createTBody();
    const order = place.alphaqOrder || { column: null, isDown: true };
    place.alphaqOrder = order;
    const fill = () => {
      const rows = [...data.rows];
      if (order.column !== null) rows.sort((a, b) => compare(a[order.column], b[order.column]) * (order.isDown ? -1 : 1));
      body.replaceChildren(...rows.map((row) => line(row, numbers, options)));
      [...head.children].forEach((cell, column) => {
        cell.setAttribute("aria-sort", column !== order.column ? "none" : order.isDown ? "descending" : "ascending");
      });
    };
    data.columns.forEach((name, column) => {
      const cell = head.appendChild(make("th", numbers.has(column) ? "aq-number" : ""));
      cell.scope = "col";
      const button = cell.appendChild(make("button", "", name));
      button.type = "button";
      button.addEventListener("click", () => {
        order.isDown = order.column === column ? !order.isDown : numbers.has(column);
        order.column = column;
        fill();
      });
    });
    if (order.column !== null && order.column >= data.columns.length) order.column = null;
    fill();
    place.replaceChildren(found);
    place.className = "aq-panel-body aq-panel-table";
  }

  function line(row, numbers, options) {
    const made = document.createElement("tr");
    row.forEach((value, column) => {
      const cell = made.insertCell();
      if (!numbers.has(column)) { cell.textContent = value; return; }
      cell.className = `aq-number ${tone(meaning(value, options.steps || []))}`;
      cell.textContent = window.alphaqUnits.format(value, options.unit);
      cell.title = value === null ? "" : String(value);
    });
    return made;
  }

  function compare(a, b) {
    if (a === b) return 0;
    if (a === null) return -1;
    if (b === null) return 1;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  // -- bands ------------------------------------------------------------------------------------------------------

  // An alert fits a series when no label that both have differs.
  function fits(labels, series) {
    return Object.entries(labels).every(([name, value]) => series[name] === undefined || series[name] === value);
  }

  function bandsFor(data, marks) {
    const fired = marks.bands.filter((band) => data.series.some((one) => fits(band.labels, one.labels || {})));
    const deployed = marks.deploys.filter((one) => data.series.some((series) => fits(one.labels, series.labels || {})));
    return fired.concat(deployed.map((one) => ({ from: one.at, to: one.at, severity: "info", label: "" })));
  }

  // -- panels -----------------------------------------------------------------------------------------------------

  class Panel {
    constructor(root, board) {
      this.root = root;
      this.board = board;
      this.options = JSON.parse(root.dataset.aqPanel);
      this.figure = root.querySelector(".aq-chart");
      this.plot = root.querySelector(".aq-chart-plot");
      this.isSeen = false;
      this.isStale = true;
      this.pixels = this.options.height * (ROW_PIXELS + GAP_PIXELS) - GAP_PIXELS;
      root.style.setProperty("--panel-rows", this.options.height);
    }

    seen(isSeen) {
      this.isSeen = isSeen;
      if (isSeen && this.isStale) this.load();
    }

    tick() {
      this.isStale = true;
      if (this.isSeen) this.load();
    }

    load() {
      this.isStale = false;
      if (this.options.kind === "timeseries") this.loadChart();
      else this.loadBody();
    }

    loadChart() {
      if (this.chart) { this.chart.load(); return; }
      const { unit, stacked, maximum, steps } = this.options;
      const thresholds = steps.filter((step) => step.value !== null && step.severity !== "ok")
        .map((step) => ({ value: step.value, severity: step.severity, label: window.alphaqUnits.format(step.value, unit) }));
      this.chart = window.alphaqChart(this.figure, {
        url: this.root.dataset.url, unit, stacked, thresholds, sync: "dashboard", height: this.fitting(26),
        maximum: maximum === null ? undefined : maximum, empty: "No samples in this time.",
      });
      const show = this.chart.show.bind(this.chart);
      this.chart.show = (data) => {
        if (data && data.series) { this.data = data; data = { ...data, bands: bandsFor(data, this.board.marks) }; }
        show(data);
        this.fit();
      };
    }

    // A panel has the height of its rows: what the heading and the legend leave is the chart's.
    fitting(legend) { return Math.max(60, this.pixels - 60 - legend); }

    fit() {
      const height = this.fitting(this.figure.querySelector(".aq-chart-legend").offsetHeight);
      if (!this.chart.drawn || Math.abs(height - this.chart.options.height) < 4) return;
      this.chart.options.height = height;
      this.chart.redraw();
    }

    marked() { if (this.chart && this.chart.data && this.data) this.chart.show(this.data); }

    async loadBody() {
      const url = new URL(this.root.dataset.url, window.location.href);
      url.searchParams.set("points", Math.max(60, Math.min(600, Math.round(this.plot.clientWidth || 300))));
      const turn = this.turn = (this.turn || 0) + 1;
      try {
        const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
        const body = await answer.json().catch(() => ({}));
        if (turn !== this.turn) return;
        if (!answer.ok) throw new Error(body.error || `The portal answered ${answer.status}.`);
        this.show(body);
      } catch (error) {
        if (turn === this.turn) this.say(error.message || "The portal does not answer.", "error");
      }
    }

    show(data) {
      const ended = data.ended ? `${data.ended} series ended within this time` : "";
      if (!(data.numbers || []).length && this.options.kind !== "table") {
        this.say(ended ? `No value now; ${ended}.` : "No samples in this time.", "empty");
        return;
      }
      if (this.options.kind === "table" && !data.rows.length) { this.say("No samples at the end of this time.", "empty"); return; }
      const body = this.plot.querySelector(".aq-panel-body") || make("div");
      if (!body.parentElement) this.plot.replaceChildren(body);
      this.figure.dataset.state = "ready";
      this.figure.removeAttribute("title");
      ({ stat, gauge, table })[this.options.kind](body, data, this.options);
      this.figure.querySelector(".aq-chart-legend")
        .replaceChildren(...[data.note, ended].filter(Boolean).map((note) => make("span", "aq-chart-more", note)));
    }

    say(text, state) {
      // What was right a moment ago stays, marked as old: a page on the wall must not go blank.
      if (state === "error" && this.figure.dataset.state === "ready") { this.figure.dataset.state = "stale"; this.figure.title = text; return; }
      if (state === "error" && this.figure.dataset.state === "stale") return;
      this.figure.dataset.state = state;
      this.plot.replaceChildren(make("p", "aq-chart-note", text));
    }
  }

  class Board {
    constructor(root) {
      this.root = root;
      this.marks = { bands: [], deploys: [] };
      this.panels = new Map([...root.querySelectorAll("[data-aq-panel]")].map((one) => [one, new Panel(one, this)]));
      const watch = new IntersectionObserver((entries) => {
        for (const entry of entries) this.panels.get(entry.target).seen(entry.isIntersecting);
      }, { rootMargin: "240px 0px" });
      for (const one of this.panels.keys()) watch.observe(one);
      this.loadMarks();
      this.every(Number(root.dataset.refresh));
      document.addEventListener("visibilitychange", () => { if (!document.hidden && this.isLate) this.tick(); });
    }

    every(seconds) {
      clearInterval(this.timer);
      if (seconds) this.timer = setInterval(() => this.tick(), seconds * 1000);
    }

    tick() {
      this.isLate = document.hidden;
      if (document.hidden) return;
      this.loadMarks();
      for (const panel of this.panels.values()) panel.tick();
    }

    async loadMarks() {
      try {
        const answer = await fetch(this.root.dataset.marks, { headers: { Accept: "application/json" }, credentials: "same-origin" });
        if (!answer.ok) return;
        this.marks = await answer.json();
      } catch (error) {
        return;  // the panels say themselves that the portal does not answer
      }
      for (const panel of this.panels.values()) panel.marked();
      const said = document.querySelector("[data-aq-deploys]");
      if (!said) return;
      said.hidden = !this.marks.deploys.length;
      said.replaceChildren(make("b", "", "Deployed"), ...this.marks.deploys.map((one) =>
        make("span", "aq-chip", `${window.alphaqUnits.clock(one.at).time.slice(0, 5)} ${one.label}`)));
    }
  }

  // -- the bar above ----------------------------------------------------------------------------------------------

  function variables(form, board) {
    const send = () => form.requestSubmit();
    form.addEventListener("change", (event) => {
      const box = event.target.closest("input[type=checkbox]");
      if (!box) { if (!event.target.closest("[data-aq-refresh]")) send(); return; }
      const boxes = [...box.closest("[data-aq-multi]").querySelectorAll("input[type=checkbox]")];
      const all = boxes.find((one) => one.dataset.aqAll !== undefined);
      if (box === all && all.checked) for (const one of boxes) if (one !== all) one.checked = false;
      if (box !== all && box.checked && all) all.checked = false;
    });
    const refresh = document.querySelector("[data-aq-refresh]");
    if (refresh) refresh.addEventListener("change", () => {
      const url = new URL(window.location.href);
      url.searchParams.set("refresh", refresh.value);
      window.history.replaceState(null, "", url);
      if (board) board.every(Number(refresh.value));
    });
  }

  // Menus close when the pointer goes elsewhere, or with Escape.
  function closeOthers(except) {
    for (const one of document.querySelectorAll("details[data-aq-picker][open]")) if (!one.contains(except)) one.open = false;
  }
  document.addEventListener("click", (event) => closeOthers(event.target));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeOthers(null); });

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.querySelector("[data-aq-board]");
    if (root) window.alphaqBoard = new Board(root);
    const form = document.querySelector("[data-aq-variables]");
    if (form) variables(form, window.alphaqBoard);
  });
  window.alphaqPanels = { stat, gauge, table };
})();
