/**
 * The page: a form, the way into the room, the stream, and how it ended.
 * @module
 */

import { Failure, Session, checkBrowser, parseInvite } from "./session.js";

/** @typedef {import("./invite.js").Invite} Invite */
/** @typedef {import("./figures.js").Second} Second */

/** The bar leaves the picture when nobody moves for so long. */
const IDLE_MS = 3000;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`no ${kind.name} #${id}`);
  return found;
}

const title = element("title", HTMLElement);
const text = element("text", HTMLElement);
const next = element("next", HTMLElement);
const detail = element("detail", HTMLElement);
const steps = element("steps", HTMLElement);
const stage = element("stage", HTMLElement);
const bar = element("bar", HTMLElement);
const notice = element("notice", HTMLElement);
const latency = element("latency", HTMLElement);
const figures = element("figures", HTMLElement);
const video = element("video", HTMLVideoElement);
const link = element("link", HTMLInputElement);
const name = element("name", HTMLInputElement);
const showFigures = element("show-figures", HTMLButtonElement);

/** @type {Invite | null} */
let invite = null;
/** @type {Session | null} */
let session = null;

/** The server that this page came from. */
const home = new URL(".", location.href).href.replace(/\/+$/, "");

/**
 * @param {"form" | "progress" | "playing" | "ended"} state
 * @param {string} heading
 * @param {string} [words]
 */
function show(state, heading, words = "") {
  document.body.dataset.state = state;
  delete document.body.dataset.code;
  title.textContent = heading;
  text.textContent = words;
}

/** @param {Failure | null} failure null: we left */
function showEnd(failure) {
  show("ended", failure?.message ?? "You left the stream");
  next.textContent = failure?.next ?? "";
  detail.textContent = failure?.detail ?? "";
  if (failure) document.body.dataset.code = failure.code;
  element("again", HTMLButtonElement).textContent = invite ? "Join again" : "Back";
}

function showForm() {
  const words = invite
    ? `You are invited to a stream by way of ${new URL(invite.server).host}. It comes straight from the host, encrypted.`
    : "It comes straight from the host, encrypted. The server that introduces you cannot see it.";
  show("form", invite ? "Join the stream" : "Watch a live stream", words);
  element("link-field", HTMLLabelElement).hidden = invite !== null;
  (invite ? name : link).focus();
}

/** @param {string} step the present one */
function showStep(step) {
  show("progress", "Joining");
  let is = "done";
  for (const item of steps.querySelectorAll("li")) {
    if (item.dataset.step === step) is = "now";
    // A host that lets everybody in makes nobody wait.
    const isLeftOut = item.dataset.step === "waiting" && step !== "waiting";
    item.dataset.is = isLeftOut ? "left-out" : is;
    if (is === "now") is = "later";
  }
}

/**
 * @param {string} href
 * @returns {Invite}
 */
function invited(href) {
  const found = parseInvite(href);
  if (found.server !== home) throw new Failure("other_server", found.server);
  return found;
}

function join() {
  if (!invite) return;
  const joined = Session.join(invite, { name: name.value });
  session = joined;
  for (const step of ["entering", "asking", "waiting", "connecting"]) {
    joined.addEventListener(step, () => showStep(step));
  }
  joined.addEventListener("waiting", (event) => {
    text.textContent = `The host sees these digits too, and may ask you for them: ${/** @type {CustomEvent} */ (event).detail}`;
  });
  joined.addEventListener("playing", () => {
    notice.textContent = "";
    if (document.body.dataset.state === "playing") return;
    show("playing", "Live");
    video.srcObject = joined.stream;
    joined.figures?.watch(video);
    stir();
  });
  joined.addEventListener("restarting", () => (notice.textContent = "The path is dead; looking for another"));
  joined.addEventListener("end", (event) => {
    session = null;
    video.srcObject = null;
    if (document.fullscreenElement) document.exitFullscreen();
    showEnd(/** @type {CustomEvent<Failure | null>} */ (event).detail);
  });
}

/** @param {Second} second */
function panel(second) {
  const ms = (/** @type {number | null} */ value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
  const lines = [
    ["picture", `${second.width}×${second.height}, ${second.fps.toFixed(1)} a second`],
    ["bitrate", `${(second.bitrate / 1e6).toFixed(2)} Mbit/s`],
    ["lost", `${second.lost} packets`],
    ["path", `${second.path}, ${second.remote}`],
    ["round trip", ms(second.rtt)],
    ["latency", ms(second.latency)],
    ...Object.entries(second.stages ?? {}).map(([of, value]) => [`  ${of.replace("_", " ")}`, ms(value)]),
  ];
  return lines.map(([what = "", value]) => `${what.padEnd(15)}${value}`).join("\n");
}

async function refresh() {
  if (document.body.dataset.state !== "playing") return;
  const second = await session?.figures?.take();
  if (!second) return;
  latency.textContent = second.latency === null ? "" : `${Math.round(second.latency)} ms`;
  figures.textContent = panel(second);
  // For whoever tests or embeds the page.
  stage.dataset.figures = JSON.stringify(second);
}

function toggleFigures() {
  figures.hidden = !figures.hidden;
  showFigures.setAttribute("aria-pressed", String(!figures.hidden));
}

function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else stage.requestFullscreen();
}

/** @type {number | undefined} */
let idle;

/** Somebody is there. */
function stir() {
  stage.classList.remove("idle");
  clearTimeout(idle);
  idle = setTimeout(() => {
    if (!bar.matches(":hover, :focus-within")) stage.classList.add("idle");
  }, IDLE_MS);
}

/** Takes the invitation out of the address bar and the history: whoever looks there is not meant. */
function takeInvite() {
  const { href, hash } = location;
  if (session || !hash) return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    invite = invited(href);
  } catch (error) {
    invite = null;
    return showEnd(Failure.of(error));
  }
  showForm();
}

element("form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    invite ??= invited(link.value);
    link.value = "";
    join();
  } catch (error) {
    showEnd(Failure.of(error));
  }
});
element("again", HTMLButtonElement).addEventListener("click", () => (invite ? join() : showForm()));
element("cancel", HTMLButtonElement).addEventListener("click", () => session?.leave());
element("leave", HTMLButtonElement).addEventListener("click", () => session?.leave());
element("fullscreen", HTMLButtonElement).addEventListener("click", toggleFullscreen);
showFigures.addEventListener("click", toggleFigures);
video.addEventListener("dblclick", toggleFullscreen);
for (const type of ["pointermove", "pointerdown", "keydown"]) stage.addEventListener(type, stir);
addEventListener("keydown", (event) => {
  if (document.body.dataset.state !== "playing" || event.target instanceof HTMLButtonElement) return;
  if (event.key === "f") toggleFigures();
  if (event.key === "Enter") toggleFullscreen();
});
addEventListener("hashchange", takeInvite);
addEventListener("pagehide", () => session?.leave());
setInterval(refresh, 1000);

showForm();
takeInvite();
checkBrowser().catch((error) => showEnd(Failure.of(error)));
