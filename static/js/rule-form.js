// The form of a rule: checks what is typed against the portal, says what each threshold row does now, draws the chart.
// Nothing is saved by it; without it the form works and is checked when it is saved.
(function () {
  "use strict";
  const PAUSE_MS = 400;

  class RuleForm {
    constructor(form, panel) {
      this.form = form;
      this.panel = panel;
      this.answer = panel.querySelector("[data-aq-answer]");
      this.figure = panel.querySelector("[data-aq-rule-chart]");
      this.told = panel.querySelector("[data-aq-told]");
      this.expr = form.querySelector("[name=expr]");
      this.timer = null;
      this.request = null;
      form.addEventListener("input", (event) => this.later(event));
      form.addEventListener("change", (event) => this.later(event));
      form.addEventListener("click", (event) => this.clicked(event));
      document.addEventListener("formset:added", () => this.later());
      document.addEventListener("formset:removed", () => this.later());
      // Whoever may only look has no field; the saved rule is checked then.
      this.isShown = !this.expr && panel.dataset.check.split("rule=")[1];
      this.heard = [];
      if (this.isShown || this.isAsked()) this.check();
      else this.answer.replaceChildren(this.hint());
    }

    isSimple() { return Boolean(this.form.querySelector("[name=mode][value=simple]:checked")); }

    isAsked() {
      const field = this.isSimple() ? this.form.querySelector("[name=simple_metric]") : this.expr;
      return Boolean(field && field.value.trim());
    }

    // Whoever wants to know what the portal answered: (body) => …
    listen(told) { this.heard.push(told); if (this.last) told(this.last); }

    hint() {
      const text = document.createElement("p");
      text.className = "aq-muted";
      text.textContent = this.isSimple() ? "Choose a metric. What it finds now is shown here."
        : "Type a question in PromQL, such as cpu_usage_percent. What it finds now is shown here.";
      return text;
    }

    // A suggestion goes into the field that the remark is about: the question, a time, a limit, or an annotation.
    clicked(event) {
      const fix = event.target.closest("[data-aq-fix]");
      if (!fix || !this.expr) return;
      const [name, part] = (fix.dataset.aqField || "expr").split(".");
      const field = this.form.querySelector(`[name="${CSS.escape(name)}"]`);
      if (!field) return;
      if (part) { field.dispatchEvent(new CustomEvent("pairs:put", { detail: { name: part, value: fix.dataset.aqFix } })); return; }
      field.value = fix.dataset.aqFix;
      if (field === this.expr) this.form.dispatchEvent(new CustomEvent("question:taken"));
      if (field.offsetParent) field.focus();
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }

    later() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.check(), PAUSE_MS);
    }

    async check() {
      if (!this.isShown && !this.isAsked()) { this.answer.replaceChildren(this.hint()); this.told.hidden = true; this.clearRows(); return; }
      if (this.request) this.request.abort();
      const request = this.request = new AbortController();
      this.panel.dataset.state = "checking";
      try {
        const found = await this.ask(this.panel.dataset.check, request);
        if (!found.ok) throw new Error(found.status === 403 ? "Sign in again to check." : `The portal answered ${found.status}.`);
        const body = await found.json();
        this.answer.innerHTML = body.html;  // drawn and escaped by the portal's own template
        this.told.innerHTML = body.told || "";
        this.told.hidden = !body.told;
        if (this.isSimple() && body.expr !== undefined && this.expr) this.expr.value = body.expr;
        this.showRows(body.rows, body.ties || {}, body.episodes || {});
        this.last = body;
        for (const told of this.heard) told(body);
        this.panel.dataset.state = body.ok ? "ok" : "problem";
        if (body.ok) await this.draw(request);
        else this.figure.hidden = true;
      } catch (error) {
        if (error.name === "AbortError") return;
        this.panel.dataset.state = "offline";
        const text = this.hint();
        text.textContent = `Cannot be checked now: ${error.message} What you typed is kept.`;
        this.answer.replaceChildren(text);
      }
    }

    ask(url, request) {
      return fetch(url, {
        method: "POST", body: new FormData(this.form), credentials: "same-origin", signal: request.signal,
        headers: { Accept: "application/json" },
      });
    }

    async draw(request) {
      const answer = await this.ask(this.panel.dataset.chart, request);
      const body = await answer.json();
      this.figure.hidden = !answer.ok;
      if (!answer.ok || !window.alphaqChart) return;
      this.figure.removeAttribute("data-state");
      window.alphaqChart(this.figure, {
        data: body.data, unit: body.unit, thresholds: body.thresholds, empty: "No samples in the last hour.", height: 210,
      });
    }

    clearRows() { for (const cell of this.form.querySelectorAll("[data-aq-row-now]")) cell.textContent = ""; }

    showRows(rows, ties, episodes) {
      this.clearRows();
      for (const [place, told] of Object.entries(rows)) {
        const field = this.form.querySelector(`[name="${CSS.escape(place)}-value"]`);
        const row = field && field.closest("tr");
        const cell = row ? row.querySelector("[data-aq-row-now]")
          : this.form.querySelectorAll("[data-aq-row-now]")[Number(place.split("-").pop())];
        if (!cell) continue;
        cell.textContent = told.words;
        cell.dataset.tone = told.tone;
        if (episodes[place] !== undefined) {
          const often = document.createElement("span");
          often.className = "aq-often";
          often.textContent = `fired ${episodes[place]} × in 30 d`;
          cell.append(often);
        }
        if (!ties[place]) continue;
        const badge = document.createElement("span");
        badge.className = "aq-tie";
        badge.textContent = ties[place];
        cell.append(badge);
      }
    }
  }

  // Most rows need no band, recovery, priority or end: those columns show on request, or when one is used.
  function narrow(group) {
    const rare = ["upper", "recover_value", "priority", "expires_at_0"];
    const used = rare.some((name) => [...group.querySelectorAll(`[name$="-${name}"]`)]
      .some((field) => !field.name.includes("__prefix__") && field.value && !(name === "priority" && field.value === "0")));
    const more = document.createElement("button");
    more.type = "button";
    more.className = "aq-more aq-columns";
    const show = (isNarrow) => {
      group.classList.toggle("is-narrow", isNarrow);
      more.textContent = isNarrow ? "More columns: band, recovery, priority, until" : "Fewer columns";
    };
    more.addEventListener("click", () => show(!group.classList.contains("is-narrow")));
    group.querySelector("fieldset").append(more);
    show(!used);
    group.addEventListener("change", (event) => {
      const isBand = event.target.name.endsWith("-operator") && ["inside", "outside"].includes(event.target.value);
      if (isBand) show(false);
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const group = document.getElementById("thresholds-group");
    if (group && group.querySelector("[name$='-value']")) narrow(group);
    const panel = document.getElementById("aq-rule-check");
    const form = document.getElementById("rule_form");
    if (panel && form) window.alphaqRuleForm = new RuleForm(form, panel);
  });
})();
