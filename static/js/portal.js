// Keeps a page fresh without loading it again: elements with data-fragment are replaced by what the portal sends.
(function () {
  "use strict";
  const EVERY_SECONDS = 12;
  let failures = 0, timer = null, plainTitle = "";

  function localTimes(root) {
    for (const time of root.querySelectorAll("time.aq-time:not([data-local])")) {
      time.dataset.local = "1";
      const moment = new Date(time.getAttribute("datetime"));
      if (!Number.isNaN(moment.getTime())) time.title = `${time.title} · ${moment.toLocaleString()} here`;
    }
  }

  // Where the browser is, for words such as "until 09:00".
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `aq_zone=${zone}; path=/; max-age=31536000; samesite=lax`;

  function place(name, html) {
    for (const element of document.querySelectorAll(`[data-fragment="${name}"]`)) {
      // What somebody reads or holds open is not pulled away under the pointer.
      if (element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) continue;
      if (element.dataset.shown === html) continue;
      element.dataset.shown = html;
      element.innerHTML = html;  // rendered and escaped by the portal's own templates
      localTimes(element);
    }
  }

  function badge(count) {
    for (const link of document.querySelectorAll("#nav-sidebar-apps a")) {
      const href = link.getAttribute("href");
      const bar = document.querySelector("[data-pulse]");
      if (!bar || href !== bar.dataset.alerts) continue;
      const shown = link.querySelectorAll("span");
      const last = shown[shown.length - 1];
      if (last && /^\d+$/.test(last.textContent.trim())) {
        last.textContent = String(count);
        last.hidden = count === 0;
      }
    }
    document.title = count ? `(${count}) ${plainTitle}` : plainTitle;
  }

  async function beat() {
    const bar = document.querySelector("[data-pulse]");
    if (!bar || document.hidden) return;
    const names = new Set([...document.querySelectorAll("[data-fragment]")].map((one) => one.dataset.fragment));
    try {
      const answer = await fetch(`${bar.dataset.pulse}?want=${[...names].join(",")}`, {
        headers: { Accept: "application/json" }, credentials: "same-origin",
      });
      // A reload leads to the sign-in page; a form may hold what somebody has typed, and stays.
      document.documentElement.toggleAttribute("data-aq-signed-out", answer.status === 401);
      if (answer.status === 401) {
        if (!document.querySelector("#content form")) window.location.reload();
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const body = await answer.json();
      for (const [name, html] of Object.entries(body.fragments)) place(name, html);
      badge(body.firing);
      failures = 0;
    } catch (error) {
      failures += 1;
    }
    document.documentElement.toggleAttribute("data-aq-offline", failures > 1);
  }

  document.addEventListener("DOMContentLoaded", () => {
    plainTitle = document.title.replace(/^\(\d+\)\s*/, "").trim();
    localTimes(document);
    // Unfold writes a chosen file's name into a text field beside its own widget; our plain fields have none to write to.
    document.querySelectorAll("input[type=file].aq-input").forEach((input) => { input.hasChangeListener = true; });
    const bar = document.querySelector("[data-pulse]");
    if (!bar) return;
    badge(Number(bar.dataset.firing || 0));
    timer = setInterval(beat, EVERY_SECONDS * 1000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) beat(); });
    window.addEventListener("pagehide", () => clearInterval(timer));
  });
  window.alphaqBeat = beat;
})();
