// Charts behind one call: alphaqChart(element, {url | data, unit, thresholds, bands, ...}).
//
// data:       {x: [unix seconds], series: [{name, values: [number or null]}], bands?, note?, error?}
// unit:       "percent", "ratio", "bytes", "bytes/s", "seconds", "short" or a word
// thresholds: [{value, label, severity}] drawn as lines; bands: [{from, to, severity, label}] drawn behind
// sync:       charts of the same name share crosshair and zoom; refresh: seconds between fetches, 0 is once
//
// Draws with uPlot when it is on the page, else with the Chart.js that Unfold brings. Elements with data-aq-chart
// are mounted by themselves; their options are data- attributes, so the page needs no inline script.
(function () {
  "use strict";
  const SEVERITIES = { critical: "--aq-critical", warning: "--aq-warning", info: "--aq-info" };
  const COLOURS = 10;
  const mounted = new Map();

  function token(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  const theme = {
    series: (place) => token(`--aq-series-${(place % COLOURS) + 1}`),
    axis: () => token("--aq-axis"),
    grid: () => token("--aq-grid"),
    surface: () => token("--aq-surface"),
    severity: (name) => token(SEVERITIES[name] || SEVERITIES.info),
    fade: (colour, share) => `color-mix(in oklab, ${colour} ${share * 100}%, transparent)`,
  };

  function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  class Chart {
    constructor(root, options) {
      this.root = root;
      this.options = { unit: "short", thresholds: [], bands: [], sync: "", refresh: 0, height: 190, ...options };
      this.plot = root.querySelector(".aq-chart-plot") || root.appendChild(element("div", "aq-chart-plot"));
      this.legend = root.querySelector(".aq-chart-legend") || root.appendChild(element("div", "aq-chart-legend"));
      this.hidden = new Set();
      this.drawn = null;
      this.engine = window.uPlot && window.alphaqChartUplot && this.options.engine !== "chartjs"
        ? window.alphaqChartUplot : window.alphaqChartJs;
      root.dataset.engine = this.engine ? this.engine.name : "none";
      if (this.options.data) this.show(this.options.data);
      else this.load();
      if (this.options.refresh && this.options.url)
        this.timer = setInterval(() => { if (!document.hidden) this.load(); }, this.options.refresh * 1000);
    }

    async load(changes) {
      if (changes) Object.assign(this.options, changes);
      const url = new URL(this.options.url, window.location.href);
      url.searchParams.set("points", Math.max(60, Math.min(600, Math.round(this.plot.clientWidth || 400))));
      if (!this.data) this.root.dataset.state = "loading";
      const turn = this.turn = (this.turn || 0) + 1;
      try {
        const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
        const body = await answer.json().catch(() => ({}));
        if (turn !== this.turn) return;  // a later question has overtaken this one
        if (!answer.ok) throw new Error(body.error || `The portal answered ${answer.status}.`);
        this.show(body);
      } catch (error) {
        if (turn === this.turn) this.say(error.message || "The portal does not answer.", "error");
      }
    }

    say(text, state) {
      if (this.drawn && state === "error") { this.root.dataset.state = "stale"; this.root.title = text; return; }
      this.destroyPlot();
      this.root.dataset.state = state;
      this.plot.replaceChildren(element("p", "aq-chart-note", text));
      this.legend.replaceChildren();
    }

    show(data) {
      if (!data || data.error) { this.say((data && data.error) || "No answer.", "error"); return; }
      if (!data.series.length) { this.data = null; this.say(this.options.empty || "No samples in this time.", "empty"); return; }
      this.root.dataset.state = "ready";
      this.root.removeAttribute("title");
      const names = data.series.map((series) => series.name).join("\n");
      const same = this.data && this.drawn && names === this.names;
      this.names = names;
      this.data = data;
      if (same) this.drawn.update(this.model());
      else this.redraw();
      this.paintLegend();
    }

    // What an engine needs, with the user's choices applied.
    model() {
      const { data, options } = this;
      return {
        x: data.x,
        series: data.series.map((series, place) => ({
          name: series.name, values: series.values, colour: () => theme.series(place), shown: !this.hidden.has(series.name),
        })),
        thresholds: options.thresholds, bands: (data.bands || []).concat(options.bands), unit: options.unit,
        maximum: options.maximum, stacked: options.stacked, sync: options.sync, height: options.height, label: options.label,
      };
    }

    redraw() {
      this.destroyPlot();
      this.plot.replaceChildren();
      if (this.engine) this.drawn = this.engine.draw(this.plot, this.model(), theme);
      else this.say("The chart library is not on this page.", "error");
    }

    paintLegend() {
      const { format } = window.alphaqUnits;
      const items = this.data.series.map((series, place) => {
        const item = element("button", "aq-chart-key");
        item.type = "button";
        item.setAttribute("aria-pressed", String(!this.hidden.has(series.name)));
        const swatch = element("span", "aq-chart-swatch");
        swatch.style.setProperty("--swatch", `var(--aq-series-${(place % COLOURS) + 1})`);
        // What ended a while ago has no value now; the newest point alone may still be on its way.
        const recent = series.values.slice(-3).filter((value) => value !== null);
        item.append(swatch, element("span", "aq-chart-name", series.name),
          element("span", "aq-chart-last", format(recent.length ? recent[recent.length - 1] : null, this.options.unit)));
        item.title = `${series.name}: click to hide or show, double-click to see it alone`;
        item.addEventListener("click", () => this.toggle(series.name));
        item.addEventListener("dblclick", () => this.only(series.name));
        return item;
      });
      if (this.data.note) items.push(element("span", "aq-chart-more", this.data.note));
      this.legend.replaceChildren(...items);
    }

    toggle(name) {
      if (!this.hidden.delete(name)) this.hidden.add(name);
      this.redraw();
      this.paintLegend();
    }

    only(name) {
      this.hidden = new Set(this.data.series.map((series) => series.name).filter((other) => other !== name));
      this.redraw();
      this.paintLegend();
    }

    destroyPlot() { if (this.drawn) { this.drawn.destroy(); this.drawn = null; } }

    destroy() { clearInterval(this.timer); this.destroyPlot(); mounted.delete(this.root); }
  }

  function optionsOf(root) {
    const { dataset } = root;
    const script = dataset.json && document.getElementById(dataset.json);
    return {
      url: dataset.url, data: script ? JSON.parse(script.textContent) : undefined, unit: dataset.unit || "short",
      sync: dataset.sync || "", refresh: Number(dataset.refresh || 0), stacked: "stacked" in dataset,
      maximum: dataset.max === undefined ? undefined : Number(dataset.max), empty: dataset.empty, engine: dataset.engineWish,
      thresholds: JSON.parse(dataset.thresholds || "[]"), bands: JSON.parse(dataset.bands || "[]"),
      height: Number(dataset.height || 190),
    };
  }

  window.alphaqChart = function (root, options) {
    if (mounted.has(root)) mounted.get(root).destroy();
    const chart = new Chart(root, options || optionsOf(root));
    mounted.set(root, chart);
    return chart;
  };
  window.alphaqCharts = mounted;

  function mountAll() {
    for (const root of document.querySelectorAll("[data-aq-chart]")) if (!mounted.has(root)) window.alphaqChart(root);
  }
  document.addEventListener("DOMContentLoaded", mountAll);

  // The theme is a class of <html>, and "auto" follows the system.
  const repaint = () => { for (const chart of mounted.values()) if (chart.data) chart.redraw(); };
  new MutationObserver(repaint).observe(document.documentElement, { attributeFilter: ["class"] });

  // A page's choice of time range: <select data-aq-range> or links with data-aq-range="6h".
  document.addEventListener("click", (event) => {
    const choice = event.target.closest("a[data-aq-range]");
    if (!choice) return;
    event.preventDefault();
    for (const other of document.querySelectorAll("a[data-aq-range]"))
      other.toggleAttribute("aria-current", other === choice);
    window.history.replaceState(null, "", choice.href);
    for (const chart of mounted.values()) {
      const url = new URL(chart.options.url, window.location.href);
      url.searchParams.set("range", choice.dataset.aqRange);
      chart.destroyPlot();  // a zoom belongs to the old range
      chart.load({ url: url.pathname + url.search });
    }
  });
})();
