// The sheet of limits: only cells that were changed are sent, so that a large sheet stays a small request.
(function () {
  "use strict";
  document.addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("[data-aq-sheet]");
    if (!form) return;
    const cells = () => [...form.querySelectorAll("[name^='cell:']")];
    form.addEventListener("input", (event) => event.target.classList.toggle("is-changed", event.target.value !== event.target.defaultValue));
    form.addEventListener("submit", () => { for (const cell of cells()) cell.disabled = cell.value === cell.defaultValue; });
    window.addEventListener("pageshow", () => { for (const cell of cells()) cell.disabled = false; });
  });
})();
