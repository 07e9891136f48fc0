// Draws along with examples/whiteboard.rs. The link stands behind the # of this page's address.
import { join } from "/room.js";

const $ = (id) => document.getElementById(id);
const board = $("board");
const paper = board.getContext("2d");
const me = `browser ${crypto.randomUUID().slice(0, 8)}`;
const colour = `hsl(${Math.floor(Math.random() * 360)} 70% 45%)`;

function line([stroke, points]) {
  paper.strokeStyle = stroke;
  paper.lineWidth = 4;
  paper.beginPath();
  for (const [x, y] of points) paper.lineTo(x, y);
  paper.stroke();
}

function at(event) {
  const { left, top, width, height } = board.getBoundingClientRect();
  const place = (offset, length) => Math.min(1000, Math.max(0, Math.round((offset / length) * 1000)));
  return [place(event.clientX - left, width), place(event.clientY - top, height)];
}

try {
  const room = await join(location.href.replace("/app/", "/"), { name: me });
  const strokes = room.map("strokes");
  const say = () => ($("state").textContent = `${strokes.size} lines`);
  strokes.addEventListener("change", ({ detail }) => {
    if (detail.type === "insert") line(detail.value);
    else {
      paper.clearRect(0, 0, 1000, 1000);
      for (const [, value] of strokes.entries()) line(value);
    }
    say();
  });
  say();
  let number = 0;
  let last = null;
  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    last = at(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = at(event);
    strokes.set([me, number++], [colour, [last, next]]);
    last = next;
  });
  board.addEventListener("pointerup", () => (last = null));
  $("clear").addEventListener("click", () => strokes.clear());
} catch (failure) {
  $("state").textContent = failure.message;
}
