// Small behaviours shared by all rooms. No inline scripts anywhere: the CSP forbids them.
"use strict";

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
});
