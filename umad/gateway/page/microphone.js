"use strict";
// Records what a person says. A model that hears gets it as a sound; else a speech model writes it
// into the box. Not: what becomes of it, which is page.js.

const REFUSED = {
  NotAllowedError: "The browser does not let this page use the microphone.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "The microphone could not be opened: another program may use it.",
};
const TICK_MS = 250;

const microphone = {
  onClip: async () => {},  // given the blob and the signal that ends its work
  onTrouble: () => {},
  recorder: null,
  work: null,  // ends what becomes of the last clip
  isOpening: false,

  get isBusy() {
    return this.isOpening || this.recorder !== null || this.work !== null;
  },

  async start() {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      return this.onTrouble("Browsers give the microphone only to pages over TLS, or at this machine's own address.");
    }
    this.isOpening = true;
    this.show();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({audio: true});
      this.record(stream);
    } catch (error) {
      this.onTrouble(REFUSED[error.name] ?? `The microphone could not be used: ${error.message}`);
    } finally {
      this.isOpening = false;
      this.show();
    }
  },

  record(stream) {
    const recorder = new MediaRecorder(stream);
    const pieces = [];
    const beganMs = performance.now();
    const timer = setInterval(() => {
      const seconds = (performance.now() - beganMs) / 1000;
      at("speak").dataset.seconds = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
      if (seconds > MOST_SOUND_S - 1) recorder.stop();
    }, TICK_MS);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recorder.addEventListener("stop", () => {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      const isWanted = this.recorder === recorder;
      this.recorder = null;
      if (isWanted) this.use(new Blob(pieces, {type: recorder.mimeType}));
      else this.show();
    });
    this.recorder = recorder;
    recorder.start();
  },

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  },

  async use(clip) {
    this.work = new AbortController();
    this.show();
    try {
      await this.onClip(clip, this.work.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.onTrouble(error.message);
    } finally {
      this.work = null;
      this.show();
    }
  },

  // Drops what is recorded, or what is made of it. Returns whether there was anything.
  leave() {
    const {recorder} = this;
    this.recorder = null;
    recorder?.stop();
    this.work?.abort();
    if (recorder || this.work) box.say("The recording was dropped.");
    return Boolean(recorder || this.work);
  },

  show() {
    const isOn = this.recorder !== null;
    at("speak").classList.toggle("is-on", isOn);
    at("speak").setAttribute("aria-pressed", String(isOn));
    at("speak").textContent = isOn ? "Done" : this.work ? "Listening" : "Speak";
    at("speak").disabled = this.isOpening || this.work !== null;
    at("speak").dataset.seconds = isOn ? "0:00" : "";
    // What came of it is said by whoever has done it.
    if (isOn) box.say("Recording. Done ends it, Escape drops it.");
    else if (this.work) box.say("What was said is being read.");
  },
};

at("speak").addEventListener("click", () => (microphone.recorder ? microphone.stop() : microphone.start()));
