// `hx-swap="morph:outerHTML"`: a part that is fetched again changes only where it differs, so that what
// is opened, focused, selected or scrolled to stays. What scripts drew or a person is typing into
// (data-kept) is not in the new part, and is left alone.
"use strict";
(() => {
  const alike = (old, fresh) => old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");

  // Widths are set by scripts, and a <details> is opened by its reader.
  const ours = (name, node) => name === "style" || (name === "open" && node.localName === "details");

  function attributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !ours(name, old)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !ours(name, old)) old.setAttribute(name, value);
    }
  }

  function children(old, fresh) {
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      // What is new goes before what stays, which is not moved; what has gone is taken out.
      const known = wanted.id ? [...old.children].find((each) => alike(each, wanted)) : at && alike(at, wanted) && at;
      if (!known) {
        old.insertBefore(wanted, at);
        continue;
      }
      while (at !== known && at && !(at.id && fresh.querySelector(`:scope > #${CSS.escape(at.id)}`))) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      if (at === known) at = at.nextSibling;
      else old.insertBefore(known, at);
      morph(known, wanted);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = fresh.data;
    } else if (!("kept" in old.dataset)) {
      attributes(old, fresh);
      children(old, fresh);
    }
  }

  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style === "morph:outerHTML",
    handleSwap: (style, target, fragment) => {
      const fresh = fragment.firstElementChild;
      if (style !== "morph:outerHTML" || !fresh || !alike(target, fresh)) return false;
      morph(target, fresh);
      return [target];
    },
  });
})();
