// The form of a silence: the next windows of one that comes again, asked anew while its fields are changed.
(function () {
  "use strict";

  const names = ["recur_weekdays", "recur_at", "recur_seconds", "recur_location", "starts_at_0", "starts_at_1",
    "ends_at_0", "ends_at_1"];

  function watching(place) {
    const form = document.querySelector("#silence_form") || document.querySelector("form:has([name=recur_at])");
    if (!form) return;
    let timer = null, turn = 0;
    const look = async () => {
      const mine = turn += 1;
      const typed = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (names.includes(name)) typed.append(name, value);
      try {
        const answer = await fetch(place.dataset.aqWindows + "?" + typed, { credentials: "same-origin" });
        if (answer.ok && mine === turn) place.innerHTML = await answer.text();  // escaped by the portal's template
      } catch (error) { /* saving will tell */ }
    };
    const later = () => { clearTimeout(timer); timer = setTimeout(look, 300); };
    form.addEventListener("input", later);
    form.addEventListener("change", later);
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll("[data-aq-windows]")) watching(place);
  });
})();
