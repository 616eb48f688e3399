// Rows of name and value instead of JSON: labels and annotations. The JSON field stays and is what is sent.
(function () {
  "use strict";

  function read(text) {
    if (!text.trim()) return {};
    try {
      const found = JSON.parse(text);
      const isPlain = found && typeof found === "object" && !Array.isArray(found);
      return isPlain && Object.values(found).every((one) => typeof one === "string") ? found : null;
    } catch (error) { return null; }
  }

  class Pairs {
    constructor(field) {
      this.field = field;
      this.box = document.createElement("div");
      this.box.className = "aq-pairs-rows";
      this.toggle = this.button("Edit as JSON", () => this.flip());
      this.toggle.className = "aq-pairs-flip";
      field.parentElement.append(this.box, this.toggle);
      this.show(read(field.value));
      field.addEventListener("pairs:put", (event) => this.put(event.detail.name, event.detail.value));
    }

    // Gives a name this value, whether it was there or not.
    put(name, value) {
      const pairs = { ...read(this.field.value), [name]: value };
      this.field.value = JSON.stringify(pairs, null, 1);
      if (!this.isJson) this.show(pairs);
      this.field.dispatchEvent(new Event("change", { bubbles: true }));
    }

    button(words, act) {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = words;
      made.addEventListener("click", act);
      return made;
    }

    // JSON that is no plain object of texts is left to the JSON field, as it was typed.
    show(pairs) {
      this.isJson = pairs === null;
      this.field.hidden = !this.isJson;
      this.box.hidden = this.isJson;
      this.toggle.textContent = this.isJson ? "Edit as rows" : "Edit as JSON";
      if (this.isJson) return;
      this.box.replaceChildren();
      for (const [name, value] of Object.entries(pairs)) this.add(name, value);
      const add = this.button("Add", () => { this.add("", "").querySelector("input").focus(); });
      add.className = "aq-pairs-add";
      this.box.append(add);
    }

    add(name, value) {
      const row = document.createElement("div");
      row.className = "aq-pair";
      const first = document.createElement("input");
      first.className = "aq-input aq-mono";
      first.value = name;
      first.placeholder = "name";
      first.setAttribute("aria-label", "name");
      const second = document.createElement("textarea");
      second.className = "aq-input";
      second.rows = Math.min(4, 1 + Math.floor(value.length / 90) + (value.match(/\n/g) || []).length);
      second.value = value;
      second.placeholder = "value";
      second.setAttribute("aria-label", "value");
      const drop = this.button("×", () => { row.remove(); this.write(); });
      drop.setAttribute("aria-label", "remove");
      drop.className = "aq-pair-drop";
      row.append(first, second, drop);
      row.addEventListener("input", () => this.write());
      const adder = this.box.querySelector(".aq-pairs-add");
      this.box.insertBefore(row, adder);
      return row;
    }

    write() {
      const pairs = {};
      for (const row of this.box.querySelectorAll(".aq-pair")) {
        const name = row.querySelector("input").value.trim();
        const value = row.querySelector("textarea").value;
        if (name || value) pairs[name] = value;
      }
      this.field.value = JSON.stringify(pairs, null, 1);
      this.field.dispatchEvent(new Event("change", { bubbles: true }));
    }

    flip() {
      if (!this.isJson) { this.show(null); return; }
      const pairs = read(this.field.value);
      if (pairs) this.show(pairs);
      else this.toggle.textContent = "Not a JSON object of texts";
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const field of document.querySelectorAll("textarea[data-aq-pairs]")) new Pairs(field);
  });
})();
