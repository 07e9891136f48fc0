// Not run: what a program in TypeScript may write, and what it may not.
import { Failure, join, namedRoom } from "../room.js";

interface Reading {
  sensor: number;
  celsius: number;
}

export async function program(link: string): Promise<void> {
  const room = await join(link, { name: "Ada", patience: 10_000 });
  const stream = room.vector<Reading>("telemetry", { window: 65_536 });
  for await (const reading of stream) {
    const celsius: number = reading.celsius;
    // @ts-expect-error a reading has no such member
    console.log(celsius, reading.fahrenheit, stream.counts.late);
  }

  const seats = room.map<number, string>("seats");
  const name: string | undefined = seats.get(1);
  // @ts-expect-error seats are numbered
  seats.get("first");
  await seats.set(2, name ?? "Bob");
  for (const [seat, who] of seats) console.log(seat + 1, who.length, seats.size);

  const positions = room.publish<{ x: number; y: number }>("positions", { mode: { realTime: 100 } });
  await positions.push({ x: 1, y: 2 });
  // @ts-expect-error a position has two members
  await positions.push({ x: 1 });
  positions.withdraw();

  for (const { kind, mode } of room.streams()) console.log(kind, mode === "reliable" ? mode : mode.realTime);
  room.addEventListener("end", (event) => {
    const failure = (event as CustomEvent<Failure | null>).detail;
    if (failure) console.log(failure.code, failure.next);
  });
  const media: MediaStream | null = room.stream;
  console.log(media);
  room.leave();
  await join(namedRoom("https://stream.example", "kitchen", "secret"));
  // @ts-expect-error neither a link nor a room
  await join(7);
}
