// Rules tried on the past: a page or a part of the rule form waits for the worker, then draws what came of it.
(function () {
  "use strict";
  const POLL_MS = 1000;

  function json(root) {
    const script = root.querySelector("script[type='application/json']");
    return script ? JSON.parse(script.textContent) : null;
  }

  // Charts of a part that has just been put into the page.
  function draw(root) {
    for (const box of root.querySelectorAll("[data-aq-bt-chart]")) {
      const options = json(box);
      if (!options || !window.alphaqChart) continue;
      window.alphaqChart(box.querySelector(".aq-chart"), { ...options, empty: "No samples in this time.", height: 230 });
    }
    for (const box of root.querySelectorAll("[data-aq-curve]")) window.alphaqCurve(box, json(box));
  }

  // Puts the part at `url` into `root` until its run is over; `turn` says whether somebody asked for another since.
  async function follow(root, url, turn) {
    for (;;) {
      const answer = await fetch(url, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error(`The portal answered ${answer.status}.`);
      const text = await answer.text();
      if (!turn()) return;
      root.innerHTML = text;  // drawn and escaped by the portal's own template
      if (!root.querySelector("[data-open]")) { draw(root); return; }
      await pause();
    }
  }

  function pause() { return new Promise((resolve) => { setTimeout(resolve, POLL_MS); }); }

  function say(root, text, tone) {
    const line = document.createElement("p");
    line.className = tone || "aq-muted";
    line.textContent = text;
    root.replaceChildren(line);
  }

  async function post(url, body) {
    const answer = await fetch(url, { method: "POST", body, credentials: "same-origin", headers: { Accept: "application/json" } });
    const found = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(found.error || `The portal answered ${answer.status}.`);
    return found;
  }

  class Panel {
    constructor(root, form) {
      this.root = root;
      this.form = form;
      this.tried = root.querySelector("[data-aq-tried]");
      this.suggested = root.querySelector("[data-aq-suggested]");
      this.which = root.querySelector("[data-aq-which]");
      this.turns = { tried: 0, suggested: 0 };
      const run = root.querySelector("[data-aq-run]"), suggest = root.querySelector("[data-aq-suggest]");
      run.addEventListener("click", (event) => { event.preventDefault(); this.backtest(); });
      suggest.hidden = false;
      suggest.addEventListener("click", () => this.suggest());
      form.addEventListener("change", () => this.offerRows());
      document.addEventListener("formset:added", () => this.offerRows());
      document.addEventListener("formset:removed", () => this.offerRows());
      root.addEventListener("click", (event) => this.stop(event));
      this.offerRows();
    }

    // The rows that have a limit: with more than one somebody has to say which is meant.
    offerRows() {
      const select = this.which.querySelector("select"), before = select.value;
      const rows = [...this.form.querySelectorAll("[name^='thresholds-'][name$='-value']")]
        .filter((field) => !field.name.includes("__prefix__") && field.value !== "");
      select.replaceChildren(...rows.map((field) => {
        const place = field.name.slice(0, -"-value".length), of = (name) => this.form.querySelector(`[name="${place}-${name}"]`);
        const option = document.createElement("option");
        option.value = place;
        option.textContent = [of("severity") && of("severity").value, of("operator") && of("operator").value, field.value,
          of("selector") && of("selector").value].filter(Boolean).join(" ");
        return option;
      }));
      if ([...select.options].some((option) => option.value === before)) select.value = before;
      this.which.hidden = rows.length < 2;
    }

    turn(which) {
      const mine = this.turns[which] += 1;
      return () => mine === this.turns[which];
    }

    async backtest() {
      const turn = this.turn("tried");
      say(this.tried, "Asking …");
      try {
        const made = await post(this.root.dataset.backtest, new FormData(this.form));
        await follow(this.tried, `${made.url}?fragment=brief`, turn);
        if (!turn()) return;
        const link = document.createElement("a");
        link.className = "aq-link";
        link.href = made.url;
        link.target = "_blank";
        link.textContent = "All episodes, on a page of its own";
        this.tried.append(link);
      } catch (error) { if (turn()) say(this.tried, error.message, "aq-error"); }
    }

    async suggest() {
      const turn = this.turn("suggested");
      say(this.suggested, "Asking …");
      const body = new FormData(this.form);
      body.delete("backtest_span");  // a limit needs weeks, whatever range is tried
      try {
        const made = await post(this.root.dataset.suggest, body);
        for (;;) {
          const answer = await fetch(made.state, { credentials: "same-origin" });
          const found = await answer.json();
          if (!turn()) return;
          if (!answer.ok) throw new Error(found.error || `The portal answered ${answer.status}.`);
          if (!found.is_open) { this.showSuggested(found, String(body.get("suggest_row") || "")); return; }
          say(this.suggested, found.waiting ? `Waiting for ${found.waiting} other runs …` : `Reading history: ${Math.floor(found.progress * 100)} % …`);
          await pause();
        }
      } catch (error) { if (turn()) say(this.suggested, error.message, "aq-error"); }
    }

    showSuggested(found, place) {
      if (!found.result) { say(this.suggested, found.problem || "Nothing came of it.", "aq-error"); return; }
      window.alphaqCurve(this.suggested, found.result, { choose: (value, result) => this.take(value, result, place) });
    }

    // Fills the number in; the form's own check then says what it does, and nothing is saved.
    take(value, result, place) {
      const rows = [...this.which.querySelectorAll("option")].map((option) => option.value);
      const name = result.row === null ? "expr" : `${place || rows[result.row] || "thresholds-0"}-value`;
      const field = this.form.querySelector(`[name="${CSS.escape(name)}"]`);
      if (!field) return;
      field.value = result.row === null ? `${result.expr} ${result.operator} ${value}` : String(value);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      field.dispatchEvent(new Event("change", { bubbles: true }));
      field.focus();
    }

    // The part's own form cannot stand within the rule's: its button is a request of its own here.
    async stop(event) {
      const button = event.target.closest("[data-aq-stop]");
      if (!button) return;
      event.preventDefault();
      const token = this.form.querySelector("[name=csrfmiddlewaretoken]");
      const body = new FormData();
      body.append("csrfmiddlewaretoken", token ? token.value : "");
      button.disabled = true;
      await fetch(button.dataset.aqStop || button.form.action, { method: "POST", body, credentials: "same-origin" }).catch(() => {});
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const page = document.querySelector("[data-aq-backtest]");
    if (page && page.querySelector("[data-open]"))
      follow(page, page.dataset.aqBacktest, () => true).catch((error) => say(page, error.message, "aq-error"));
    else if (page) draw(page);
    const panel = document.getElementById("aq-backtest"), form = document.getElementById("rule_form");
    if (panel && form) window.alphaqBacktest = new Panel(panel, form);
  });
})();
