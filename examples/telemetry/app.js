// Reads along with examples/telemetry.rs. The link stands behind the # of this page's address.
import { join } from "/room.js";

const $ = (id) => document.getElementById(id);
const curve = $("curve").getContext("2d");
const values = [];

function draw() {
  curve.clearRect(0, 0, 600, 200);
  curve.beginPath();
  values.forEach((celsius, at) => curve.lineTo(at, 200 - (celsius - 50) * 10));
  curve.stroke();
  requestAnimationFrame(draw);
}

try {
  const room = await join(location.href.replace("/app/", "/"), { name: "browser" });
  room.addEventListener("away", () => ($("state").textContent = "The host is not heard…"));
  room.addEventListener("back", () => ($("state").textContent = "Connected"));
  room.addEventListener("end", () => ($("state").textContent = "The end"));
  $("state").textContent = "Connected";
  requestAnimationFrame(draw);
  for await (const { celsius, rpm } of room.vector("readings")) {
    values.push(celsius);
    if (values.length > 600) values.shift();
    $("celsius").textContent = celsius.toFixed(1);
    $("rpm").textContent = rpm;
  }
} catch (failure) {
  $("state").textContent = failure.message;
}
