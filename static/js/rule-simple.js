// Simple mode of the rule form: fields in place of PromQL, limits as sentences, a list of whom a limit is for.
// The portal writes and reads the PromQL; the lines of limits are the rows of the table below, and change them.
(function () {
  "use strict";
  const OPERATORS = [[">", "above"], [">=", "at or above"], ["<", "below"], ["<=", "at or below"], ["outside", "outside"],
    ["inside", "inside"], ["==", "equal to"], ["!=", "not equal to"]];
  const SEVERITIES = ["critical", "warning", "info"];
  const BANDS = ["outside", "inside"];
  // What a row may be for besides its selector: objects of the registry, by id.
  const OBJECTS = ["model", "version", "stage", "host", "gpu"];
  const PLAIN_UNITS = [["", 1]];

  function make(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function select(label, options, value) {
    const made = make("select", "aq-input");
    made.setAttribute("aria-label", label);
    for (const [name, words] of options) made.append(new Option(words, name, false, name === value));
    return made;
  }

  function put(field, value) {
    if (!field || field.value === String(value)) return;
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // Twelve digits: 0.07 of a per cent is 0.0007, not 0.0007000000000000001.
  const round = (value) => Number(value.toPrecision(12));

  // -- the rows of the table -------------------------------------------------------------------------------------------

  class Rows {
    constructor(group) {
      this.group = group;
      this.special = new Set();  // rows made for some series, while nobody has said for which
    }

    all() {
      return [...this.group.querySelectorAll("[name$='-value']")]
        .filter((field) => !field.name.includes("__prefix__") && !field.disabled)
        .map((field) => this.at(field.name.slice(0, -"-value".length)))
        .filter((row) => !(row.gone && row.gone.checked));
    }

    at(prefix) {
      const field = (name) => this.group.querySelector(`[name="${CSS.escape(`${prefix}-${name}`)}"]`);
      return {
        prefix, severity: field("severity"), operator: field("operator"), value: field("value"), upper: field("upper"),
        selector: field("selector"), gone: field("DELETE"), objects: OBJECTS.map(field).filter(Boolean),
      };
    }

    defaults() {
      return this.all().filter((row) => ["", "{}"].includes(row.selector.value.trim()) && !this.special.has(row.prefix)
        && !row.objects.some((field) => field.value));
    }

    add() {
      const before = new Set(this.all().map((row) => row.prefix));
      (this.group.querySelector(".add-row a") || this.group.querySelector(".add-row")).click();
      return this.all().find((row) => !before.has(row.prefix));
    }
  }

  // -- the lines: fire as warning when it is above 80 % ------------------------------------------------------------------

  class Lines {
    constructor(box, rows, form) {
      this.box = box;
      this.rows = rows;
      this.form = form;
      this.units = PLAIN_UNITS;
      this.operator = form.querySelector("[name=simple_operator]");
      this.limit = form.querySelector("[name=simple_limit]");
      box.hidden = false;
      this.draw();
    }

    draw() {
      if (this.box.contains(document.activeElement) && document.activeElement.matches("input, select")) return;
      const lines = this.rows.defaults().map((row) => this.line(row));
      if (this.operator.value) lines.unshift(this.ofQuestion());
      else if (!lines.length) lines.push(this.line(null));
      this.box.replaceChildren(...lines, this.buttons());
    }

    size(value) {
      if (this.chosen) { const found = this.units.find(([name]) => name === this.chosen); if (found) return found; }
      const fits = this.units.filter(([, size]) => Math.abs(value) >= size);
      return value && fits.length && this.units.length > 2 ? fits.reduce((a, b) => (b[1] > a[1] ? b : a)) : this.units[0];
    }

    number(label, field, isBase) {
      const base = field && field.value !== "" ? Number(field.value) : null;
      const input = make("input", "aq-input");
      input.type = "text";
      input.inputMode = "decimal";
      input.setAttribute("aria-label", label);
      const unit = this.size(base === null || Number.isNaN(base) ? 0 : base);
      input.value = base === null ? "" : Number.isNaN(base) ? field.value : String(round(base / unit[1]));
      return { input, unit };
    }

    // Two fields and a unit; `target` says where they go: {severity?, operator, value, upper?}, null for a row to come.
    line(target, canBand = true) {
      const line = make("div", "aq-limit-line");
      const state = { target };
      const severity = select("Severity", SEVERITIES.map((name) => [name, name]), target ? target.severity && target.severity.value : "warning");
      const choices = canBand ? OPERATORS : OPERATORS.filter(([name]) => !BANDS.includes(name));
      const operator = select("Comparison", choices, target ? target.operator.value : ">");
      const lower = this.number("Limit", target && target.value);
      const upper = this.number("Upper limit", target && target.upper);
      const unit = select("Unit", this.units.map(([name]) => [name, name || "–"]), lower.unit[0]);
      const and = make("span", "", "to");
      const show = () => { for (const part of [and, upper.input]) part.hidden = !BANDS.includes(operator.value); };
      const base = (input) => {
        const size = this.units.find(([name]) => name === unit.value)[1];
        const text = input.value.trim().replace(",", ".");
        return text !== "" && Number.isFinite(Number(text)) ? round(Number(text) * size) : text;
      };
      const tell = () => {
        show();
        if (!state.target && lower.input.value.trim() !== "") state.target = this.rows.add();
        if (!state.target) return;
        if (state.target.severity) put(state.target.severity, severity.value);
        put(state.target.operator, operator.value);
        put(state.target.value, base(lower.input));
        if (state.target.upper) put(state.target.upper, BANDS.includes(operator.value) ? base(upper.input) : "");
      };
      for (const part of [severity, operator, lower.input, upper.input, unit]) part.addEventListener("input", tell);
      unit.addEventListener("input", () => { this.chosen = unit.value; });
      show();
      const hasSeverity = !target || target.severity;
      line.append(...(hasSeverity ? [make("span", "", "Fire as"), severity, make("span", "", "when it is")] : [make("span", "", "Fire when it is")]),
        operator, lower.input, and, upper.input, ...(this.units.length > 1 || this.units[0][0] ? [unit] : []));
      return line;
    }

    // The limit stands in the question itself, as Prometheus has it; a row of its own may differ by model.
    ofQuestion() {
      const line = this.line({ operator: this.operator, value: this.limit }, false);
      const move = make("button", "aq-fix", "Keep the limit in a row, so that it may differ by model");
      move.type = "button";
      move.addEventListener("click", () => {
        const operator = this.operator.value, value = this.limit.value;
        this.operator.value = "";
        this.limit.value = "";
        const row = this.rows.add();
        put(row.operator, operator);
        put(row.value, value);
        this.draw();
      });
      line.append(move);
      return line;
    }

    // The table keeps base units; beside each number it says how people read it: 0.5 is 500 ms.
    sayUnits() {
      for (const row of this.rows.all()) {
        let hint = row.value.parentElement.querySelector(".aq-in-unit");
        if (!hint) { hint = make("span", "aq-in-unit"); row.value.after(hint); }
        const base = row.value.value.trim() === "" ? NaN : Number(row.value.value);
        const [name, size] = this.size(base);
        hint.textContent = Number.isFinite(base) && base && name ? `${round(base / size)} ${name}` : "";
      }
    }

    buttons() {
      const bar = make("div", "aq-limit-more");
      const more = make("button", "aq-fix", "+ another severity");
      more.type = "button";
      more.addEventListener("click", () => {
        const used = this.rows.defaults().map((row) => row.severity.value);
        const row = this.rows.add();
        put(row.severity, ["critical", "warning", "info"].find((name) => !used.includes(name)) || "warning");
        const model = this.rows.defaults().find((one) => one.prefix !== row.prefix);
        if (model) put(row.operator, model.operator.value);
        this.draw();
      });
      const own = make("button", "aq-fix", "+ a limit of its own for some");
      own.type = "button";
      own.dataset.aqOwn = "";
      own.addEventListener("click", () => {
        const model = this.rows.defaults()[0];
        const row = this.rows.add();
        this.rows.special.add(row.prefix);
        this.draw();
        if (model) { put(row.severity, model.severity.value); put(row.operator, model.operator.value); }
        const choose = row.selector.parentElement.querySelector(".aq-scope");
        row.selector.closest("tr").scrollIntoView({ block: "center" });
        (choose || row.selector).focus();
      });
      if (!this.operator.value) bar.append(more, own);
      return bar;
    }
  }

  // -- whom a limit is for -------------------------------------------------------------------------------------------

  class Scopes {
    constructor(rows) {
      this.rows = rows;
      this.labels = {};
      this.objects = {};
      this.applies = {};
    }

    heard(body) {
      [this.labels, this.objects, this.applies] = [body.scopes || {}, body.objects || {}, body.applies || {}];
      this.draw();
    }

    draw() { for (const row of this.rows.all()) { this.offer(row); this.chip(row); } }

    offer(row) {
      let list = row.selector.parentElement.querySelector(".aq-scope");
      if (!list) {
        list = make("select", "aq-input aq-scope");
        list.setAttribute("aria-label", "Whom this limit is for");
        list.addEventListener("change", () => { this.choose(row, list.value); list.value = ""; });
        row.selector.after(list);
      }
      if (document.activeElement === list) return;
      list.replaceChildren(new Option("choose from what is there…", ""), new Option("all series", "all"), ...this.groups());
      list.hidden = !Object.keys(this.labels).length;
    }

    // Models and hosts that are registered are chosen as such, so that the limit follows them; the rest by label.
    groups() {
      const group = (name, options) => {
        const made = make("optgroup");
        made.label = name;
        made.append(...options.map(([words, value]) => new Option(words, JSON.stringify(value))));
        return made;
      };
      const known = { model_name: "model", host: "host" };
      const of = (name) => this.objects[name] || [];
      const groups = Object.entries(this.labels).map(([label, values]) => group(known[label] || label, values.map((value) => {
        const object = known[label] && of(known[label]).find(([, name]) => name === value);
        return [value, object ? { [known[label]]: object[0] } : { label, value }];
      })));
      if (of("version").length) groups.push(group("version in the registry", of("version").map(([id, model, name]) => [`${model} ${name}`, { version: id }])));
      if (of("stage").length) groups.push(group("stage in the registry", of("stage").map(([id, model, stage]) => [`${model} in ${stage}`, { model: id, stage }])));
      return groups;
    }

    choose(row, text) {
      if (!text) return;
      if (text === "all") {
        this.rows.special.delete(row.prefix);
        for (const field of [row.selector, ...row.objects]) put(field, "");
        return;
      }
      const chosen = JSON.parse(text);
      if (chosen.label) { put(row.selector, this.joined(row.selector.value, [chosen.label, chosen.value])); return; }
      const field = (name) => row.objects.find((one) => one.name.endsWith(`-${name}`));
      if (!chosen.host) for (const name of ["model", "version", "stage"]) put(field(name), "");
      for (const [name, value] of Object.entries(chosen)) put(field(name), value);
    }

    // The objects that a row is for, in words of the portal; a click takes them away.
    chip(row) {
      const words = this.applies[row.prefix] || "";
      let chip = row.selector.parentElement.querySelector(".aq-applies");
      if (!words) { if (chip) chip.remove(); return; }
      if (!chip) {
        chip = make("button", "aq-applies");
        chip.type = "button";
        chip.title = "Take this away";
        chip.addEventListener("click", () => { for (const field of row.objects) put(field, ""); });
        row.selector.before(chip);
      }
      chip.textContent = `${words} ×`;
    }

    // Another label is added to simple matchers; the same label, and anything written by hand, is replaced.
    joined(text, [label, value]) {
      const inner = text.trim().replace(/^\{|\}$/g, "");
      const isSimple = /^(\s*[a-zA-Z_]\w*="[^"\\]*"\s*,?)*$/.test(inner);
      const kept = isSimple ? [...inner.matchAll(/([a-zA-Z_]\w*)="([^"\\]*)"/g)].filter((one) => one[1] !== label).map((one) => one[0]) : [];
      const quoted = value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
      return `{${[...kept, `${label}="${quoted}"`].join(",")}}`;
    }
  }

  // -- the two ways to ask -------------------------------------------------------------------------------------------

  class Modes {
    constructor(form, panel) {
      this.form = form;
      this.panel = panel;
      this.say = panel.querySelector("[data-aq-mode-say]");
      this.written = panel.querySelector("[data-aq-written]");
      for (const radio of panel.querySelectorAll("[name=mode]")) radio.addEventListener("change", () => this.changed(radio.value));
      // A suggested question is PromQL; it is shown in simple mode again where that can show all of it.
      form.addEventListener("question:taken", () => {
        if (this.form.querySelector("[name=mode][value=simple]").checked) this.changed("simple");
      });
      panel.querySelector("[name=simple_measure]").addEventListener("change", () => this.shape());
      panel.querySelector("[name=simple_aggregation]").addEventListener("change", () => this.shape());
      this.shape();
    }

    set(mode) { this.form.querySelector(`[name=mode][value=${mode}]`).checked = true; }

    async changed(mode) {
      this.say.textContent = "";
      if (mode !== "simple" || !this.form.querySelector("[name=expr]").value.trim()) return;
      this.set("promql");  // until it is certain that nothing would be lost
      const answer = await window.alphaqRuleForm.ask(document.getElementById("aq-rule-check").dataset.check, new AbortController());
      const body = answer.ok ? await answer.json() : {};
      if (!body.simple) {
        this.say.textContent = body.ok ? "This question says more than simple mode can show; it stays in PromQL."
          : "Simple mode needs a question without errors; it stays in PromQL.";
        return;
      }
      for (const [name, value] of Object.entries(body.simple)) {
        this.form.querySelector(`[name=simple_${name}]`).value = value === null ? "" : value;
      }
      this.set("simple");
      this.shape();
      window.alphaqRuleForm.later();
    }

    // Only what matters for the choice is shown.
    shape() {
      const measure = this.panel.querySelector("[name=simple_measure]").value;
      const isShare = /^p\d/.test(measure);
      const aggregation = this.panel.querySelector("[name=simple_aggregation]");
      this.panel.querySelector("[data-aq-window]").hidden = !measure;
      this.panel.querySelector("[data-aq-aggregation]").hidden = isShare;
      this.panel.querySelector("[data-aq-by]").hidden = !isShare && !aggregation.value;
      if (!isShare && !aggregation.value) this.panel.querySelector("[name=simple_by]").value = "";
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const form = document.getElementById("rule_form");
    const panel = document.getElementById("aq-question");
    const group = document.getElementById("thresholds-group");
    if (!form || !panel || !window.alphaqRuleForm) return;
    const modes = new Modes(form, panel);
    const rows = group && group.querySelector("[name$='-value']") ? new Rows(group) : null;
    const lines = rows ? new Lines(panel.querySelector("[data-aq-limits]"), rows, form) : null;
    const scopes = rows ? new Scopes(rows) : null;
    window.alphaqRuleForm.listen((body) => {
      if (body.expr !== undefined) modes.written.textContent = body.expr || "–";
      if (lines && body.units) { lines.units = body.units; lines.draw(); lines.sayUnits(); }
      if (scopes && body.scopes) scopes.heard(body);
    });
    if (!rows) return;
    group.addEventListener("change", () => { lines.draw(); lines.sayUnits(); });
    group.addEventListener("input", () => lines.sayUnits());
    for (const name of ["formset:added", "formset:removed"]) document.addEventListener(name, () => { lines.draw(); scopes.draw(); });
  });
})();
