"use strict";
// Images and sounds of chats: made ready for a model, kept in this browser, written into a request.
//
// A chat has of each file a note: {id, kind, name, type}. Its bytes are in IndexedDB, since a chat's
// own place (shelf.js) holds some megabytes for all chats together. Where the browser has none, or
// no room, they live as long as the page. What no chat has a note of is removed when the page is
// opened.

const KINDS = {image: "image", audio: "sound"};
const MOST_FILES = 8;  // of one message
// A conversation is sent whole each time, and all its files have to fit into 16 MiB. A larger
// image is drawn anew, at most so wide and high: models see no finer than that.
const MOST_IMAGE_BYTES = 1.5 * 2 ** 20;
const MOST_SIDE_PX = 2048;
const JPEG_QUALITY = 0.92;
// What umad decodes without being asked to try; of other images the browser makes one of these.
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp", "image/gif"];
// Models hear at this rate.
const SOUND_HZ = 16_000;
const MOST_SOUND_S = 300;
// Another tab may be adding a file that its chat has no note of yet.
const YOUNG_MS = 60_000;

class Unreadable extends Error {}

// -- made ready ----------------------------------------------------------------------------------

// The bytes of an image as they are sent. Throws Unreadable.
const readImage = async (blob, name) => {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Unreadable(`${name} is not an image that this browser can read.`);
  }
  if (SENT_AS_THEY_ARE.includes(blob.type) && blob.size <= MOST_IMAGE_BYTES) return blob;
  const share = Math.min(1, MOST_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) =>
    Math.max(1, Math.round(side * share)));
  const drawing = canvas.getContext("2d");
  drawing.fillStyle = "white";  // JPEG has no transparency
  drawing.fillRect(0, 0, canvas.width, canvas.height);
  drawing.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const made = await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
  if (!made) throw new Unreadable(`${name} is too large for this browser to make it smaller.`);
  return made;
};

// A WAV file of whatever the browser can decode: its own recordings are in forms that differ from
// browser to browser. Throws Unreadable.
const readSound = async (blob, name) => {
  let sound;
  try {
    sound = await new OfflineAudioContext(1, 1, SOUND_HZ).decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new Unreadable(`${name} is not a sound that this browser can read.`);
  }
  if (sound.duration > MOST_SOUND_S) {
    throw new Unreadable(`${name} is longer than ${MOST_SOUND_S / 60} minutes.`);
  }
  const channels = Array.from({length: sound.numberOfChannels}, (_, at) => sound.getChannelData(at));
  return wavOf(sound.length, (at) => channels.reduce((sum, one) => sum + one[at], 0) / channels.length);
};

// PCM of 16 bits, one channel: the canonical form of RIFF WAVE.
const wavOf = (length, sampleAt) => {
  const data = new DataView(new ArrayBuffer(44 + 2 * length));
  const words = (at, text) => [...text].forEach((one, by) => data.setUint8(at + by, one.charCodeAt(0)));
  words(0, "RIFF");
  data.setUint32(4, 36 + 2 * length, true);
  words(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true);
  data.setUint16(22, 1, true);
  data.setUint32(24, SOUND_HZ, true);
  data.setUint32(28, 2 * SOUND_HZ, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  words(36, "data");
  data.setUint32(40, 2 * length, true);
  for (let at = 0; at < length; at += 1) {
    data.setInt16(44 + 2 * at, Math.max(-1, Math.min(1, sampleAt(at))) * 0x7fff, true);
  }
  return new Blob([data], {type: "audio/wav"});
};

// -- kept ----------------------------------------------------------------------------------------

const ended = (request) => new Promise((done, fail) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => fail(request.error);
});

const files = {
  spare: new Map(),  // blobs that the browser does not keep
  opening: null,

  // The store, in a transaction of its own. Throws where the browser has none.
  async store(mode) {
    this.opening ??= new Promise((done, fail) => {
      const request = indexedDB.open("umad", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("files", {keyPath: "id"});
      request.onsuccess = () => done(request.result);
      request.onerror = () => fail(request.error);
    });
    return (await this.opening).transaction("files", mode).objectStore("files");
  },

  // The note of a file that a person adds. Throws Unreadable.
  async add(kind, blob, name) {
    const ready = await (kind === "image" ? readImage : readSound)(blob, name);
    const note = {id: freshId(), kind, name, type: ready.type};
    try {
      await ended((await this.store("readwrite")).put({id: note.id, blob: ready, addedMs: Date.now()}));
    } catch {
      this.spare.set(note.id, ready);
    }
    return note;
  },

  // Null where it is not kept any more.
  async blobOf({id}) {
    if (this.spare.has(id)) return this.spare.get(id);
    const found = await this.store("readonly").then((store) => ended(store.get(id))).catch(() => null);
    return found?.blob ?? null;
  },

  async remove(notes) {
    for (const {id} of notes) {
      this.spare.delete(id);
      await this.store("readwrite").then((store) => ended(store.delete(id))).catch(() => {});
    }
  },

  // Removes what none of these chats has.
  async sweep(chats) {
    const held = new Set(chats.flatMap(filesOf).map(({id}) => id));
    const all = await this.store("readonly").then((store) => ended(store.getAll())).catch(() => []);
    const isOld = ({addedMs}) => Date.now() - addedMs > YOUNG_MS;
    await this.remove(all.filter((one) => !held.has(one.id) && isOld(one)));
  },
};

// The notes of a chat's files, those in the box included.
const filesOf = (chat) =>
  [...chat.files, ...(chat.pending?.files ?? []), ...chat.turns.flatMap((turn) => turn.files ?? [])];

// Notes that were stored, without whatever is none.
const readNotes = (kept) =>
  (Array.isArray(kept) ? kept : []).filter((one) =>
    typeof one?.id === "string" && typeof one.name === "string" && Object.hasOwn(KINDS, one.kind));

// -- written into a request ----------------------------------------------------------------------

// A turn as the gateway takes it. Files stand before the words: those that come again are found
// read, and only what is new is computed.
const messageOf = async ({role, content, files: notes = []}) => {
  if (!notes.length) return {role, content};
  const parts = await Promise.all(notes.map(partOf));
  return {role, content: content ? [...parts, {type: "text", text: content}] : parts};
};

const partOf = async (note) => {
  const blob = await files.blobOf(note);
  if (!blob) return {type: "text", text: `(Here was ${nameOf(note)}; it is not kept any more.)`};
  const url = await new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(blob);
  });
  if (note.kind === "image") return {type: "image_url", image_url: {url}};
  return {type: "input_audio", input_audio: {data: url.slice(url.indexOf(",") + 1), format: "wav"}};
};

const nameOf = (note) => `the ${KINDS[note.kind]} ${note.name}`;
