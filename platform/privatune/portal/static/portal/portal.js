// Small behaviours shared by all rooms. No inline scripts or styles anywhere: the CSP forbids them.
"use strict";
(() => {
  // Widths come from attributes, since style attributes are forbidden; set through the CSSOM.
  const widths = () =>
    document.querySelectorAll("[data-width]").forEach((each) => {
      each.style.width = `${each.dataset.width}%`;
    });
  document.addEventListener("htmx:afterSettle", widths);
  widths();

  // Pages that show times in the reader's own zone know it from here.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;

  // On a phone the room bar scrolls: show the room one is in.
  document.querySelector(".rooms .active")?.scrollIntoView({ block: "nearest", inline: "nearest" });

  // Not navigator.clipboard alone: it exists over HTTPS only.
  document.querySelectorAll("[data-copy]").forEach((button) =>
    button.addEventListener("click", () => {
      document.querySelector(button.dataset.copy).select();
      if (document.execCommand("copy")) button.textContent = button.dataset.done;
    }),
  );

  // What is folded is read on paper, too.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("main details:not([open])")];
    unfolded.forEach((each) => (each.open = true));
  });
  window.addEventListener("afterprint", () => unfolded.forEach((each) => (each.open = false)));

  // A form that is half filled in stays so while the language changes: what was typed goes with it.
  // Passwords and files do not, nor what a form says of itself.
  const KEPT = "typed";
  const fields = () =>
    [...document.querySelectorAll("main form[method=post] :is(input, select, textarea)[name]")].filter(
      (each) => !["hidden", "password", "file", "submit"].includes(each.type),
    );
  const key = (field) => `${[...document.forms].indexOf(field.form)} ${field.name} ${/radio|checkbox/.test(field.type) ? field.value : ""}`;
  const ticks = (field) => /radio|checkbox/.test(field.type);
  document.querySelectorAll("form.language").forEach((form) =>
    form.addEventListener("submit", () => {
      const typed = fields().map((each) => [key(each), { value: ticks(each) ? each.checked : each.value, open: each.closest("details")?.open }]);
      sessionStorage.setItem(KEPT, JSON.stringify({ page: location.pathname, typed }));
    }),
  );
  const left = JSON.parse(sessionStorage.getItem(KEPT) || "null");
  sessionStorage.removeItem(KEPT);
  if (left?.page === location.pathname) {
    const typed = new Map(left.typed);
    const found = fields().filter((each) => typed.has(key(each)));
    for (const each of found) {
      const { value, open } = typed.get(key(each));
      if (ticks(each)) each.checked = value;
      else each.value = value;
      if (open) each.closest("details").open = true;
    }
    window.addEventListener("load", () => found.forEach((each) => each.dispatchEvent(new Event("change", { bubbles: true }))));
  }

  // A menu closes as menus do, and the focus goes back to what opened it.
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector(".switcher[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) return event.preventDefault();
    // A wish is acknowledged at once, and not sent twice.
    const button = event.submitter;
    if (!button?.dataset.doing) return;
    button.textContent = button.dataset.doing;
    button.setAttribute("aria-disabled", "true");
    event.target.addEventListener("submit", (again) => again.preventDefault());
  });
})();
