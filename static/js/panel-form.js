// The form of a panel: shows what is typed as the dashboard would. Nothing is saved by it.
(function () {
  "use strict";
  const PAUSE_MS = 500;

  class Preview {
    constructor(form, place) {
      this.form = form;
      this.place = place;
      this.timer = null;
      form.addEventListener("input", () => this.later());
      form.addEventListener("change", () => this.later());
      document.addEventListener("formset:removed", () => this.later());
      this.ask();
    }

    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask(), PAUSE_MS);
    }

    // A fresh figure each time: another kind of panel leaves nothing of the one before.
    figure() {
      if (this.chart) this.chart.destroy();
      this.chart = null;
      const figure = document.createElement("figure"), plot = document.createElement("div"), legend = document.createElement("div");
      figure.className = "aq-chart";
      plot.className = "aq-chart-plot";
      legend.className = "aq-chart-legend";
      figure.append(plot, legend);
      this.place.querySelector(".aq-chart").replaceWith(figure);
      return figure;
    }

    async ask() {
      if (this.request) this.request.abort();
      const request = this.request = new AbortController();
      try {
        const answer = await fetch(this.place.dataset.aqPreview, {
          method: "POST", body: new FormData(this.form), credentials: "same-origin", signal: request.signal,
          headers: { Accept: "application/json" },
        });
        const body = await answer.json().catch(() => ({ error: `The portal answered ${answer.status}.` }));
        this.show(body);
      } catch (error) {
        if (error.name !== "AbortError") this.show({ error: "The portal does not answer. What you typed is kept." });
      }
    }

    show({ error, data, options }) {
      const figure = this.figure();
      if (error) { this.chart = window.alphaqChart(figure, { data: { error } }); return; }
      if (options.kind === "timeseries") {
        const thresholds = options.steps.filter((step) => step.value !== null && step.severity !== "ok")
          .map((step) => ({ ...step, label: window.alphaqUnits.format(step.value, options.unit) }));
        const { unit, stacked } = options;
        const maximum = options.maximum === null ? undefined : options.maximum;
        this.chart = window.alphaqChart(figure, { data, unit, stacked, maximum, thresholds, height: 220 });
        return;
      }
      const body = document.createElement("div");
      figure.querySelector(".aq-chart-plot").append(body);
      window.alphaqPanels[options.kind](body, data, options);
      if (data.numbers && !data.numbers.length) body.textContent = "No value now.";
      if (data.note) figure.querySelector(".aq-chart-legend").textContent = data.note;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector("[data-aq-preview]"), form = document.getElementById("panel_form");
    if (place && form) window.alphaqPanelForm = new Preview(form, place);
  });
})();
