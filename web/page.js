/**
 * The page: a form, the way into the room, the stream, and how it ended.
 * @module
 */

import { Failure, Room, checkBrowser, namedRoom, parseInvite } from "./room.js";

/** @import { Entry, Invite, Pass, Second } from "./shapes.js" */

/** The bar leaves the picture when nobody moves for so long. */
const IDLE_MS = 3000;
/** How long coming back is tried before somebody is asked to do something. */
const PATIENCE_MS = 20_000;
/** A host tests one password with each try: whoever answers under a name gets no more from us. */
const MAX_TRIES = 3;

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof (kind ?? HTMLElement))) throw new TypeError(`no #${id}`);
  return /** @type {T} */ (found);
}

const title = element("title");
const text = element("text");
const next = element("next");
const detail = element("detail");
const steps = element("steps");
const stage = element("stage");
const bar = element("bar");
const notice = element("notice");
const latency = element("latency");
const figures = element("figures");
const video = element("video", HTMLVideoElement);
const form = element("form", HTMLFormElement);
const link = element("link", HTMLInputElement);
const room = element("room", HTMLInputElement);
const password = element("password", HTMLInputElement);
const name = element("name", HTMLInputElement);
/** What the form asks for: a link or a room. */
const way = /** @type {RadioNodeList} */ (form.elements.namedItem("way"));
const again = element("again", HTMLButtonElement);
const back = element("back", HTMLButtonElement);
const showFigures = element("show-figures", HTMLButtonElement);

/** @type {Invite | null} */
let invite = null;
/** What a host gave us when it let us in. @type {Pass | null} */
let pass = null;
/** How often whoever answers under a name has tested a password. @type {Map<string, number>} */
const failed = new Map();
/** @type {Room | null} */
let session = null;

/** The address of this page, without what an invitation adds; and of its server. */
const address = location.href.split("#")[0] ?? "";
const home = new URL(".", address).href.replace(/\/+$/, "");

/**
 * @param {"form" | "progress" | "playing" | "ended"} state
 * @param {string} heading
 * @param {string} [words]
 */
function show(state, heading, words = "") {
  const isNew = document.body.dataset.state !== state;
  document.body.dataset.state = state;
  delete document.body.dataset.code;
  title.textContent = heading;
  text.textContent = words;
  // Whoever does not see the page hears what it is about now.
  if (isNew) (state === "playing" ? stage : title).focus();
}

/** @param {Failure | null} failure null: we left */
function showEnd(failure) {
  // What the host does not know is not tried again. Anything else may pass.
  if (failure && ["wrong_secret", "invite_expired"].includes(failure.code)) invite = null;
  if (failure?.code === "wrong_ticket") pass = null;
  show("ended", failure?.message ?? "You left the stream");
  next.textContent = failure?.next ?? "";
  detail.textContent = failure?.detail ?? "";
  if (failure) document.body.dataset.code = failure.code;
  again.textContent = invite || pass ? "Join again" : "Back";
  back.hidden = !invite && !pass;
}

function showForm() {
  const words = invite
    ? `You are invited to a stream by way of ${new URL(invite.server).host}. It comes straight from the host, encrypted.`
    : "It comes straight from the host, encrypted. The server that introduces you cannot see it.";
  show("form", invite ? "Join the stream" : "Watch a live stream", words);
  document.body.dataset.way = invite ? "invited" : way.value;
  if (invite) name.focus();
  else if (way.value === "link") link.focus();
  else (room.value ? password : room).focus();
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
    if (is === "now") text.textContent = `${item.textContent}…`;
    item.toggleAttribute("aria-current", is === "now");
    if (is === "now") is = "later";
  }
}

/**
 * @param {string} href
 * @returns {Invite}
 */
function invited(href) {
  const found = parseInvite(href);
  // As browsers write it: without usual ports and capital letters.
  if (new URL(`${found.server}/`).href.replace(/\/+$/, "") !== home) throw new Failure("other_server", found.server);
  return found;
}

/**
 * What the form says.
 * @returns {Entry}
 * @throws {Failure}
 */
function entered() {
  if (invite) return invite;
  if (way.value === "link") {
    invite = invited(link.value);
    link.value = "";
    return invite;
  }
  const named = namedRoom(home, room.value, password.value);
  password.value = "";
  if (!mayTry(named.name)) throw new Failure("impostor");
  return named;
}

/**
 * What a failure means here, where more is known than in one session.
 * @param {Entry} entry
 * @param {Failure | null} failure
 * @param {Room} joined
 */
function judged(entry, failure, joined) {
  if (!("password" in entry)) return failure;
  // Whoever answers has had a try, and shown nothing.
  if (joined.isUnproven) failed.set(entry.name, (failed.get(entry.name) ?? 0) + 1);
  else if (joined.pass) failed.delete(entry.name);
  return mayTry(entry.name) ? failure : new Failure("impostor");
}

/** @param {string} named */
function mayTry(named) {
  return (failed.get(named) ?? 0) < MAX_TRIES;
}

/** @param {Room} joined */
function watch(joined) {
  video.srcObject = joined.stream;
  video.play().catch(() => (notice.textContent = "Tap to play"));
  joined.figures?.watch(video);
}

/** @param {Entry} entry */
function join(entry) {
  if (session) return;
  const joined = new Room(entry, { name: name.value, patience: PATIENCE_MS });
  session = joined;
  showStep("entering");
  for (const step of ["entering", "asking", "waiting", "connecting"]) {
    joined.on(step, () => showStep(step));
  }
  joined.on("waiting", (digits) => {
    text.textContent = `The host sees these digits too, and may ask you for them: ${digits}`;
  });
  joined.on("playing", () => {
    notice.textContent = "";
    if (document.body.dataset.state === "playing") return;
    show("playing", "Live");
    watch(joined);
    stir();
  });
  joined.on("back", () => watch(joined));
  joined.on("away", () => (notice.textContent = "The host is not heard; trying to come back"));
  joined.on("restarting", () => (notice.textContent = "The path is dead; looking for another"));
  joined.on("end", (reason) => {
    session = null;
    video.srcObject = null;
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    pass = joined.pass ?? pass;
    showEnd(judged(entry, reason, joined));
  });
}

/** @param {Second} second */
function panel(second) {
  const ms = (/** @type {number | null} */ value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
  const stages = Object.entries(second.stages ?? {});
  const longest = Math.max(...stages.map(([, value]) => value));
  const lines = [
    ["picture", `${second.width}×${second.height}, ${second.fps.toFixed(1)} a second`],
    ["bitrate", `${(second.bitrate / 1e6).toFixed(2)} Mbit/s`],
    ["lost", `${second.lost} packets`],
    ["path", `${second.path}, ${second.remote}`],
    ["round trip", ms(second.rtt)],
    ["latency", ms(second.latency)],
    ...stages.map(([of, value]) => [`  ${of.replace("_", " ")}`, ms(value) + (value === longest ? " ← most" : "")]),
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
  if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  // Phones of Apple show only videos so.
  else /** @type {any} */ (video).webkitEnterFullscreen?.();
}

/** @type {number | undefined} */
let idle;

/** Somebody is there. */
function stir() {
  stage.classList.remove("idle");
  clearTimeout(idle);
  idle = setTimeout(() => {
    if (!bar.matches(":hover, :has(:focus-visible)")) stage.classList.add("idle");
  }, IDLE_MS);
}

/** A room's name in the address, for whom the host has told the password. @param {string} hash */
function takeRoom(hash) {
  way.value = "room";
  try {
    room.value = decodeURIComponent(hash.slice("#room=".length));
  } catch {
    room.value = "";
  }
  showForm();
}

/** Takes the invitation out of the address bar and the tab's history. */
function takeInvite() {
  const { href, hash } = location;
  if (!hash) return;
  history.replaceState(null, "", address);
  if (session) {
    notice.textContent = "Leave this stream first, then open the other link again";
    return;
  }
  [invite, pass] = [null, null];
  if (hash.startsWith("#room=")) return takeRoom(hash);
  try {
    invite = invited(href);
  } catch (error) {
    return showEnd(Failure.of(error));
  }
  showForm();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    join(entered());
  } catch (error) {
    showEnd(Failure.of(error));
  }
});
form.addEventListener("change", ({ target }) => {
  if (target instanceof HTMLInputElement && target.type === "radio") showForm();
});
again.addEventListener("click", () => {
  const entry = pass ?? invite;
  if (entry) join(entry);
  else showForm();
});
back.addEventListener("click", () => {
  [invite, pass] = [null, null];
  showForm();
});
element("cancel", HTMLButtonElement).addEventListener("click", () => session?.leave());
element("leave", HTMLButtonElement).addEventListener("click", () => session?.leave());
element("fullscreen", HTMLButtonElement).addEventListener("click", toggleFullscreen);
showFigures.addEventListener("click", toggleFigures);
video.addEventListener("dblclick", toggleFullscreen);
stage.addEventListener("click", () => {
  if (video.paused) video.play().then(() => (notice.textContent = ""), () => {});
});
for (const type of ["pointermove", "pointerdown", "keydown"]) stage.addEventListener(type, stir);
addEventListener("keydown", (event) => {
  if (document.body.dataset.state !== "playing" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "f") toggleFigures();
  if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) toggleFullscreen();
});
addEventListener("hashchange", takeInvite);
addEventListener("pagehide", () => session?.leave());
setInterval(() => refresh().catch(console.debug), 1000);

showForm();
takeInvite();
checkBrowser().catch((error) => showEnd(Failure.of(error)));
