"use strict";
// The files in the box: added by a button, pasted or dropped, looked at, and removed again. Not:
// which chat has them, and their being sent, which is page.js.

const SMALL_PX = 160;  // twice what is seen, for sharp screens

// A file to look at. Drawn and not loaded: the page's policy lets it load no image at all.
const pictureOf = (note) => {
  if (note.kind !== "image") return element("span", "sound", note.name);
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", note.name);
  canvas.title = note.name;
  [canvas.width, canvas.height] = [SMALL_PX, SMALL_PX];
  draw(canvas, note).catch(() => {
    canvas.replaceWith(element("span", "sound", `${note.name} (not kept any more)`));
  });
  return canvas;
};

const draw = async (canvas, note) => {
  const bitmap = await createImageBitmap(await files.blobOf(note));
  const share = SMALL_PX / Math.max(bitmap.width, bitmap.height);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) =>
    Math.max(1, Math.round(side * share)));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.dataset.drawn = "true";
};

const listOfFiles = (notes) => element("ul", "files", ...notes.map((note) => element("li", "", pictureOf(note))));

const box = {
  onFiles: () => {},  // given what a person adds
  onRemove: () => {},
  shown: "",

  // The files of the message that is being written.
  show(notes) {
    const shown = JSON.stringify(notes);
    if (shown === this.shown) return;
    this.shown = shown;
    at("files").hidden = !notes.length;
    at("files").replaceChildren(...notes.map((note) => element("li", "", pictureOf(note),
      deed("Remove", `Remove ${note.name}`, () => this.onRemove(note)))));
  },

  say(text) {
    at("file-note").textContent = text;
  },

  // What may be added with this model, on the buttons.
  showMeans(model) {
    const mayLook = models.takes(model, "image");
    at("add").setAttribute("aria-disabled", String(mayLook !== true));
    at("add").title = mayLook === true ? "Add an image: or paste one, or drop one here" : models.whyNot(model, "image");
    at("pick").accept = models.takes(model, "audio") ? "image/*,audio/*" : "image/*";
    at("speak").title = models.takes(model, "audio") ? `Record a clip for ${model} to hear`
      : `Say something, and ${models.speech} writes it into the box`;
    at("speak").hidden = !microphone.isBusy && !models.takes(model, "audio") && !models.speech;
  },
};

at("add").addEventListener("click", () => {
  if (at("add").getAttribute("aria-disabled") === "true") box.onFiles([]);
  else at("pick").click();
});
at("pick").addEventListener("change", () => {
  const picked = [...at("pick").files];
  at("pick").value = "";  // so that the same file can be picked again
  box.onFiles(picked);
});
at("prompt").addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files];
  // Programs that copy formatted text put a picture of it beside it.
  if (!pasted.length || event.clipboardData.getData("text/plain")) return;
  event.preventDefault();
  box.onFiles(pasted);
});

// Everywhere on the page: a file that misses the box would be opened in the page's place.
const bringsFiles = (event) => event.dataTransfer?.types.includes("Files") && !at("settings").open;
const mark = (isOver) => at("box").classList.toggle("is-over", isOver);
addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  mark(bringsFiles(event));
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) mark(false);
});
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  mark(false);
  if (bringsFiles(event)) box.onFiles([...event.dataTransfer.files]);
});
