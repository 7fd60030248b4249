// Keeps the admin's page with the figures of all processes up to date, while somebody looks at it.
"use strict";

(() => {
  const shown = document.getElementById("livepush-figures");
  const stale = document.getElementById("livepush-figures-stale");

  const refresh = () => {
    if (document.hidden) return again();
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document"; // a parser that trusted types allow
    request.timeout = 10_000;
    request.onloadend = () => {
      const fresh = request.status === 200 && request.response?.getElementById("livepush-figures");
      if (fresh) shown.replaceChildren(...fresh.childNodes);
      stale.hidden = Boolean(fresh);
      again();
    };
    request.send();
  };
  const again = () => setTimeout(refresh, 1000 * shown.dataset.every);
  again();
})();
