// Pages of alerts: the list that refreshes itself, filters that apply at once, the preview of a silence.
(function () {
  "use strict";

  // Puts the page's own address through again and takes the new table; what somebody is typing stays.
  function refreshing(box) {
    setInterval(async () => {
      if (document.hidden || box.querySelector("form[data-aq-keep] :focus, [data-busy]")) return;
      try {
        const answer = await fetch(box.dataset.url, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return;
        const held = document.activeElement && box.contains(document.activeElement);
        if (held) return;
        box.innerHTML = await answer.text();  // drawn and escaped by the portal's own template
        if (window.alphaqLocalTimes) window.alphaqLocalTimes(box);
      } catch (error) { /* the bar of every page says that the portal is away */ }
    }, Number(box.dataset.aqRefresh) * 1000);
  }

  function previewing(form) {
    const place = form.querySelector("[data-aq-preview]");
    let timer = null, turn = 0;
    const look = async () => {
      const mine = turn += 1;
      const typed = new FormData(form);
      typed.append("preview", "1");
      try {
        const answer = await fetch(form.action, { method: "POST", body: typed, credentials: "same-origin" });
        if (answer.ok && mine === turn) place.innerHTML = await answer.text();
      } catch (error) { /* the answer to the form itself will tell */ }
    };
    const later = () => { clearTimeout(timer); timer = setTimeout(look, 300); };
    form.addEventListener("input", later);
    form.addEventListener("change", later);
  }

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-aq-submit]")) event.target.form.requestSubmit();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-aq-refresh]")) refreshing(box);
    for (const form of document.querySelectorAll("form[data-aq-silence]")) previewing(form);
  });
})();
