"use strict";
// Finds and makes elements. Text goes in as text: nothing on this page is parsed as HTML, and the
// page's policy (require-trusted-types-for) lets nothing be.

const COPIED_FOR_MS = 1500;

const at = (id) => document.getElementById(id);

const element = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
};

// A button that says to somebody who does not see it what it belongs to.
const deed = (name, label, act) => {
  const button = element("button", "quiet", name);
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.addEventListener("click", act);
  return button;
};

const copyButton = (label, text) => {
  const button = deed("Copy", label, async () => {
    const outcome = (await copied(text())) ? "Copied" : "Not copied";
    button.textContent = outcome;
    button.setAttribute("aria-label", outcome);
    setTimeout(() => {
      button.textContent = "Copy";
      button.setAttribute("aria-label", label);
    }, COPIED_FOR_MS);
  });
  button.classList.add("copy");
  return button;
};

// The clipboard of pages exists only on this machine's own address and over TLS; elsewhere the text
// is selected and copied as a person would.
const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = element("textarea", "unseen");
    box.value = text;
    document.body.append(box);
    const before = document.activeElement;
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    before?.focus();
    return done;
  }
};
