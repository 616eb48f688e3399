// Explore: asks what is typed, draws the answer as graph and table, shows an error under its place in the text, and
// keeps the address of the page such that somebody else sees the same.
(function () {
  "use strict";
  const LONGEST_ADDRESS = 3500;  // servers on the way cut longer ones

  class Explore {
    constructor(form) {
      this.form = form;
      this.field = form.querySelector("[name=expr]");
      this.said = form.querySelector("[data-aq-said]");
      this.error = form.querySelector("[data-aq-error]");
      this.rule = form.querySelector("[data-aq-make-rule]");
      this.graph = document.querySelector("[data-aq-graph]");
      this.table = document.querySelector("[data-aq-table]");
      this.start = document.querySelector("[data-aq-start]");
      this.token = document.querySelector("[data-aq-csrf] input").value;
      this.windows = JSON.parse(document.getElementById("aq-rule-windows").textContent);
      form.addEventListener("submit", (event) => { event.preventDefault(); this.ask(); });
      form.addEventListener("change", (event) => { if (event.target !== this.field && this.field.value.trim()) this.ask(); });
      this.field.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.ask(); }
      });
      form.querySelector("[data-aq-share]").addEventListener("click", (event) => this.share(event.target));
      document.addEventListener("click", (event) => {
        const example = event.target.closest("[data-aq-example]");
        if (example) { this.field.value = example.dataset.aqExample; this.ask(); }
      });
      window.addEventListener("popstate", () => window.location.reload());
      if (this.field.value.trim()) this.ask();
    }

    address() {
      const url = new URL(window.location.pathname, window.location.href);
      for (const [name, value] of new FormData(this.form)) if (value) url.searchParams.set(name, value);
      return url.href;
    }

    async ask() {
      if (!this.field.value.trim()) { this.refuse({ error: "Type a question first." }); return; }
      const url = this.address();
      if (url.length < LONGEST_ADDRESS && url !== window.location.href) window.history.pushState(null, "", url);
      const body = new FormData(this.form);
      body.set("points", Math.max(60, Math.min(1200, Math.round((this.form.clientWidth || 800) - 80))));
      if (this.request) this.request.abort();
      const request = this.request = new AbortController();
      this.form.dataset.state = "asking";
      this.said.textContent = "Asking…";
      try {
        const answer = await fetch(this.form.dataset.answer, {
          method: "POST", body, credentials: "same-origin", signal: request.signal,
          headers: { Accept: "application/json", "X-CSRFToken": this.token },
        });
        const found = await answer.json().catch(() => ({ error: `The portal answered ${answer.status}.` }));
        if (answer.ok) this.show(found);
        else this.refuse(found);
      } catch (error) {
        if (error.name !== "AbortError") this.refuse({ error: "The portal does not answer. What you typed is kept." });
      }
      if (this.request === request) delete this.form.dataset.state;
    }

    refuse(found) {
      const where = found.line ? `Line ${found.line}, column ${found.column}: ` : "";
      const words = document.createElement("p");
      words.textContent = where + (found.error || "No answer.");
      this.error.replaceChildren(words);
      if (found.caret) {
        const caret = document.createElement("pre");
        caret.className = "aq-caret";
        caret.textContent = found.caret;
        this.error.append(caret);
      }
      this.error.hidden = false;
      this.said.textContent = "";
      this.graph.hidden = this.table.hidden = true;
      if (this.rule) this.rule.hidden = true;
    }

    show(found) {
      this.error.hidden = true;
      if (this.start) this.start.hidden = true;
      const { stats } = found;
      const step = found.chart ? `, a point every ${window.alphaqUnits.span(found.step_seconds)}` : "";
      const plural = (count, word) => `${count.toLocaleString("en")} ${word}${word === "series" || count === 1 ? "" : "s"}`;
      this.said.textContent = found.text ? `Text: ${found.text}`
        : `${plural(stats.series, "series")} and ${plural(stats.samples, "sample")} read in ${window.alphaqUnits.span(stats.seconds)}${step}.`;
      for (const warning of found.warnings) {
        const line = document.createElement("span");
        line.className = "aq-explore-warning";
        line.textContent = warning;
        this.said.append(line);
      }
      this.showGraph(found);
      this.showTable(found.table);
      this.showRule(found);
    }

    showGraph(found) {
      this.graph.hidden = !found.chart;
      if (found.chart) window.alphaqChart(this.graph.querySelector(".aq-chart"), {
        data: found.chart, unit: "short", height: 300, sync: "explore", empty: "No samples in this time.",
      });
    }

    showTable(table) {
      const place = this.table.querySelector(".aq-panel-table, .aq-panel-body");
      this.table.hidden = !table.columns.length;
      this.table.querySelector("[data-aq-count]").textContent = table.note || `${table.rows.length} row${table.rows.length === 1 ? "" : "s"}`;
      if (!this.table.hidden) window.alphaqPanels.table(place, table, { unit: "short", steps: [] });
    }

    // A rule has no screen to fit: the windows that follow the step become fixed ones.
    showRule(found) {
      const { rule } = this.form.dataset;
      if (!rule || !this.rule) return;
      const url = new URL(rule, window.location.href);
      const names = Object.keys(this.windows).sort((a, b) => b.length - a.length).join("|");
      const fixed = this.field.value.trim().replace(new RegExp(`\\$\\{?(${names})\\b\\}?`, "g"), (whole, name) => this.windows[name]);
      url.searchParams.set("expr", fixed);
      this.rule.href = url.pathname + url.search;
      this.rule.hidden = url.href.length > LONGEST_ADDRESS || found.type === "string" || found.chart === null;
    }

    async share(button) {
      const url = this.address(), words = button.textContent;
      try {
        if (url.length >= LONGEST_ADDRESS) throw new Error("too long");
        await navigator.clipboard.writeText(url);
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = url.length >= LONGEST_ADDRESS ? "Too long for an address" : "Copy it from the address bar";
      }
      setTimeout(() => { button.textContent = words; }, 2000);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("[data-aq-explore]");
    if (form) window.alphaqExplore = new Explore(form);
  });
})();
