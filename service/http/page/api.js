// Requests to the service: JSON, answers as they grow, and problem documents as errors.

export class Problem extends Error {
  constructor(document) {
    super(document.detail);
    this.type = document.type;
    this.status = document.status;
  }
}

// The key, where the service asks for one, for as long as the tab is open.
let key = sessionStorage.getItem("key");
export const hasKey = () => key !== null;
export function setKey(given) {
  key = given;
  if (given === null) sessionStorage.removeItem("key");
  else sessionStorage.setItem("key", given);
}

// Paths are relative to the page, which may stand below a proxy's path; those of the API name its version.
const VERSION = "v1/";

async function ask(path, options = {}) {
  const headers = key === null ? options.headers : { ...options.headers, Authorization: `Bearer ${key}` };
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, detail: "The service cannot be reached: is it running?" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Problem(told ?? { status: response.status, detail: `The service answered ${response.status}.` });
}

export const get = async (path) => (await ask(path)).json();

export const getModel = () => get(`${VERSION}model`);
export const getGallery = () => get(`${VERSION}gallery`);
export const getGalleries = async () => (await get(`${VERSION}galleries`)).galleries;

const itemPath = (id) => `${VERSION}gallery/items/${encodeURIComponent(id)}`;
export const imagePath = (id) => `${VERSION}gallery/images/${encodeURIComponent(id)}`;
export const file = async (path) => (await ask(path)).blob();

const search = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value !== null && value !== ""));

// A page of items: { items, next }, `next` being the cursor of the page after it.
export const items = (wanted) => get(`${VERSION}gallery/items?${search(wanted)}`);
export const add = (blob, fields) => ask(`${VERSION}gallery/items?${search(fields)}`, { method: "POST", body: blob, headers: typed(blob) });
export const remove = (id) => ask(itemPath(id), { method: "DELETE" });
export const relabel = (id, label) =>
  ask(itemPath(id), { method: "PATCH", body: JSON.stringify({ label }), headers: { "Content-Type": "application/json" } });

const jobPath = (id) => `${VERSION}gallery/jobs/${encodeURIComponent(id)}`;
export const getJobs = async () => (await get(`${VERSION}gallery/jobs`)).jobs;
export const getJob = (id) => get(jobPath(id));
export const startJob = (archive, fields) => ask(`${VERSION}gallery/jobs?${search(fields)}`, { method: "POST", body: archive, headers: typed(archive) });
// Cancels it, or forgets one that has ended.
export const endJob = (id) => ask(jobPath(id), { method: "DELETE" });

// What the model sees of an image file: { shape: [C, H, W], pixels: Float32Array, losses }.
export async function modelInput(blob) {
  return unpacked(await ask(`${VERSION}model/input`, { method: "POST", body: blob, headers: typed(blob) }));
}

async function unpacked(response) {
  const found = await response.json();
  const bytes = Uint8Array.from(atob(found.pixels), (character) => character.charCodeAt(0));
  return { ...found, pixels: new Float32Array(bytes.buffer) };
}

const typed = (blob) => ({ "Content-Type": blob.type || "application/octet-stream" });

// A query: a file as it is, or the exact numbers of a tensor.
function bodyOf({ file, tensor }, options, route = "retrieve") {
  const url = `${VERSION}${route}?${search(options)}`;
  if (file) return [url, { method: "POST", body: file, headers: typed(file) }];
  const body = JSON.stringify({ pixels: nested(tensor) });
  return [url, { method: "POST", body, headers: { "Content-Type": "application/json" } }];
}

function nested({ shape: [channels, height, width], pixels }) {
  const row = (start) => Array.from(pixels.subarray(start, start + width));
  const plane = (start) => Array.from({ length: height }, (_, y) => row(start + y * width));
  return Array.from({ length: channels }, (_, c) => plane(c * height * width));
}

export async function retrieve(query, options) {
  const [url, request] = bodyOf(query, options);
  return (await ask(url, request)).json();
}

// What an attack on a query leads to, by a change of at most `size`: { size, inside, changed, shape, pixels, answer, moved }.
export async function attack(tensor, size, options) {
  return unpacked(await ask(...bodyOf({ tensor }, { ...options, size }, "attack")));
}

// The events of an answer as it grows: `round`s, then `answer`. Aborting `signal` ends the query.
export async function* retrieving(query, options, signal) {
  const [url, request] = bodyOf(query, options);
  request.headers.Accept = "text/event-stream";
  const response = await ask(url, { ...request, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      const data = JSON.parse(fields.data);
      if (fields.event === "problem") throw new Problem(data);
      yield [fields.event, data];
    }
  }
}
