// Completion in a PromQL field: metric names and functions, labels inside braces, values inside quotes.
// Arrows choose, Tab or Enter takes, Escape closes. Names come from the address in data-names of the page.
// An input with data-aq-complete takes a part of a question: "metric", "matchers" or "labels".
(function () {
  "use strict";
  const SHOWN = 12;
  const WORD = /[a-zA-Z_:][a-zA-Z0-9_:]*$/;

  // What stands before the caret: a word to complete, and where it stands.
  function place(text) {
    const quoted = /([a-zA-Z_:][a-zA-Z0-9_:]*)?\{[^{}]*?([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(text);
    if (quoted) return { kind: "value", metric: quoted[1] || "", label: quoted[2], word: quoted[3] };
    const braces = /([a-zA-Z_:][a-zA-Z0-9_:]*)?\{(?:[^{}"]|"[^"]*")*?([a-zA-Z_][a-zA-Z0-9_]*)?$/.exec(text);
    if (braces && text.lastIndexOf("{") > text.lastIndexOf("}"))
      return { kind: "label", metric: braces[1] || "", word: (WORD.exec(text) || [""])[0] };
    const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)$/.exec(text);
    if (grouping) return { kind: "label", metric: "", ofQuestion: true, word: grouping[1].split(",").pop().trim(), after: "" };
    const word = WORD.exec(text);
    const inString = (text.replace(/\\"/g, "").split('"').length - 1) % 2 === 1;
    return word && !inString ? { kind: "name", word: word[0] } : null;
  }

  // The metric that an input for matchers or labels belongs to.
  function metricOf(field) {
    const metric = field.form && field.form.querySelector("[data-aq-complete=metric]");
    return metric ? metric.value.trim() : "";
  }

  // The same for an input that holds a part of a question.
  const PARTS = {
    metric: (text) => ({ kind: "name", only: "metric", word: text.trim() }),
    labels: (text, field) => ({ kind: "label", metric: metricOf(field), word: text.split(",").pop().trim(), after: "" }),
    matchers: (text, field) => {
      const at = place(`${metricOf(field)}{${text}`) || { kind: "label", metric: metricOf(field), word: "" };
      return at.kind === "value" ? { ...at, after: '"' } : at;
    },
  };

  class Completion {
    constructor(field, url) {
      this.field = field;
      this.url = url;
      this.part = PARTS[field.dataset.aqComplete];
      this.known = new Map();
      this.list = document.createElement("ul");
      this.list.className = "aq-complete";
      this.list.setAttribute("role", "listbox");
      this.list.hidden = true;
      field.parentElement.append(this.list);
      field.addEventListener("input", () => this.open());
      if (this.part) field.addEventListener("focus", () => this.open());
      field.addEventListener("keydown", (event) => this.key(event));
      field.addEventListener("blur", () => setTimeout(() => this.close(), 150));
      this.list.addEventListener("mousedown", (event) => {
        const item = event.target.closest("li");
        if (item) { event.preventDefault(); this.take(Number(item.dataset.place)); }
      });
    }

    async ask(query) {
      const url = `${this.url}?${new URLSearchParams(query)}`;
      if (!this.known.has(url)) {
        this.known.set(url, fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } })
          .then((answer) => (answer.ok ? answer.json() : {})).catch(() => { this.known.delete(url); return {}; }));
      }
      return this.known.get(url);
    }

    async candidates(at) {
      if (at.kind === "value") {
        const body = await this.ask({ metric: at.metric, label: at.label });
        return (body.values || []).map((name) => ({ name, detail: "", after: at.after }));
      }
      if (at.kind === "label") {
        const metric = at.ofQuestion ? await this.metricOfQuestion() : at.metric;
        const body = metric ? await this.ask({ metric }) : {};
        return (body.labels || []).map((name) => ({ name, detail: "label", after: at.after === undefined ? '="' : at.after }));
      }
      const body = await this.ask({});
      const metrics = (body.metrics || []).map((name) => ({ name, detail: "metric" }));
      if (at.only === "metric") return metrics;
      const functions = (body.functions || []).map((one) => ({ ...one, after: "(" }));
      return metrics.concat(functions);
    }

    // Labels to group by are those of the first metric that the question names.
    async metricOfQuestion() {
      const known = new Set((await this.ask({})).metrics || []);
      return (this.field.value.match(/[a-zA-Z_:][a-zA-Z0-9_:]*/g) || []).find((word) => known.has(word)) || "";
    }

    async open() {
      const turn = this.turn = (this.turn || 0) + 1;
      const text = this.field.value.slice(0, this.field.selectionStart);
      const at = this.part ? this.part(text, this.field) : place(text);
      if (!at || (at.kind === "name" && !at.only && at.word.length < 2)) { this.close(); return; }
      const found = await this.candidates(at);
      if (turn !== this.turn || (this.part && document.activeElement !== this.field)) return;
      const wanted = at.word.toLowerCase();
      const rank = (one) => { const where = one.name.toLowerCase().indexOf(wanted); return where < 0 ? -1 : where ? 1 : 0; };
      this.items = found.filter((one) => rank(one) >= 0 && one.name !== at.word)
        .sort((a, b) => rank(a) - rank(b) || a.name.length - b.name.length || (a.name < b.name ? -1 : 1)).slice(0, SHOWN);
      this.at = at;
      this.chosen = 0;
      if (!this.items.length) { this.close(); return; }
      this.paint();
    }

    paint() {
      this.list.replaceChildren(...this.items.map((one, number) => {
        const item = document.createElement("li");
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", String(number === this.chosen));
        item.dataset.place = String(number);
        const name = document.createElement("span");
        name.className = "aq-mono";
        name.textContent = one.name;
        const detail = document.createElement("span");
        detail.className = "aq-muted";
        detail.textContent = one.help || one.detail || "";
        item.append(name, detail);
        return item;
      }));
      this.list.hidden = false;
    }

    close() { this.turn = (this.turn || 0) + 1; this.list.hidden = true; }

    key(event) {
      if (this.list.hidden) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        const step = event.key === "ArrowDown" ? 1 : -1;
        this.chosen = (this.chosen + step + this.items.length) % this.items.length;
        this.paint();
      } else if (event.key === "Tab" || event.key === "Enter") this.take(this.chosen);
      else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    take(number) {
      const one = this.items[number];
      const caret = this.field.selectionStart;
      const rest = this.field.value.slice(caret);
      const after = one.after && !rest.startsWith(one.after[0]) ? one.after : "";
      this.field.setRangeText(one.name + after, caret - this.at.word.length, caret, "end");
      this.close();
      this.field.focus();
      this.field.dispatchEvent(new Event("input", { bubbles: true }));
      this.close();
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const source = document.querySelector("[data-names]");
    if (!source) return;
    for (const field of document.querySelectorAll("textarea[data-aq-promql], input[data-aq-complete]")) new Completion(field, source.dataset.names);
  });
})();
