/**
 * The shapes of what modules hand to one another. For readers and compilers only: no browser loads them.
 * @module
 */

import type { ClockSync } from "./clock.js";
import type { FAILURES, Failure } from "./failure.js";
import type { CipherState } from "./noise.js";

export type Bytes = Uint8Array<ArrayBuffer>;
/** What went wrong. */
export type Code = keyof typeof FAILURES;

// The way into a room.

/** What an invite link says. */
export interface Invite {
  /** Base URL without a slash at its end. */
  server: string;
  /** Its id. */
  room: Bytes;
  /** The host's X25519 public key. */
  hostKey: Bytes;
  /** Known to holders of the link only. */
  secret: Bytes;
}

/** A room that is found by its name. */
export interface NamedRoom {
  /** Base URL without a slash at its end. */
  server: string;
  name: string;
  password: string;
}

export interface Ticket {
  room: Bytes;
  id: Bytes;
  secret: Bytes;
}

/** What a host gives to whom it lets in, to come back with while the stream lives. */
export interface Pass {
  server: string;
  hostKey: Bytes;
  ticket: Ticket;
}

/** What lets a client in. */
export type Entry = Invite | NamedRoom | Pass;

/** How the server knows a room: by its id or its name. */
export type Place = { room: Bytes } | { name: string };

/** What a handshake rests on. */
export interface Basis {
  hostKey: Bytes;
  psk: Bytes;
  prologue: Bytes;
  /** Puts the first message into its envelope. */
  wrap: (message: Bytes) => Bytes;
  /** What it means that the host does not know our secret. */
  refused: Code;
}

/** What both ends know after the handshake. */
export interface Keys {
  /** Of the whole handshake. */
  hash: Bytes;
  sealer: CipherState;
  opener: CipherState;
}

export type ServerMessage =
  | { type: "entered"; stunPort: number }
  | { type: "relay"; blob: Bytes }
  | { type: "closed" }
  | { type: "dismissed" }
  | { type: "refused"; reason: string };

export type Admission = { state: "admitted"; answer: string; ticket: Ticket | null } | { state: "waiting" };

/** What the host says through the sealed channel. */
export type HostMessage =
  | { type: "admission"; admission: Admission }
  | { type: "reveal"; digits: string }
  | { type: "candidate"; candidate: string }
  | { type: "restarted"; answer: string }
  | { type: "part"; failure: Failure };

// A link.

/** A frame as the host knows it. Times in microseconds. */
export interface SentFrame {
  /** RTP: 90 kHz. */
  timestamp: number;
  /** 0: there was none yet. */
  number: number;
  /** On the host's clock. */
  capturedUs: number;
  captureWaitUs: number;
  captureUs: number;
  convertUs: number;
  encodeWaitUs: number;
  encodeUs: number;
  sendQueueUs: number;
}

export type ControlMessage =
  | { type: "confirm"; mac: Bytes; verified: boolean }
  | { type: "pong"; sentUs: number; receivedUs: number; newest: SentFrame }
  | { type: "goodbye"; reason: string };

/** What arrived since the link was up. Counters wrap. */
export interface Report {
  /** Number of the newest complete frame. */
  frame: number;
  /** RTP packets received, repairs included. */
  packets: number;
  /** RTP packets that were missing when a later one came. */
  missed: number;
  /** RTP payload. */
  bytes: number;
  /** How much longer a frame was under way than the shortest, microseconds. */
  queuedUs: number;
  /** Of the newest frame, microseconds. */
  latencyUs: number;
}

/** Milliseconds by stage, in their order, as everywhere in LLLSI. */
export interface Stages {
  capture_wait: number;
  capture: number;
  convert: number;
  encode_wait: number;
  encode: number;
  send_queue: number;
  /** Until all of the frame had come. */
  network: number;
  /** With waiting for the decoder. */
  decode: number;
  /** Until the browser expects it to be seen. */
  present: number;
}

/** Figures of one second. */
export interface Second {
  /** Frames decoded: a tab in the background shows none. */
  fps: number;
  /** Bits a second. */
  bitrate: number;
  /** Median milliseconds from the change of the host's screen until the picture is seen. */
  latency: number | null;
  /** Their medians. */
  stages: Stages | null;
  /** Packets given up since the beginning. */
  lost: number;
  /** Of the picture. */
  width: number;
  height: number;
  /** Milliseconds. */
  rtt: number | null;
  /** Between which kinds of addresses, such as `host – srflx`. */
  path: string;
  /** The host's address. */
  remote: string;
}

/** A link that the host has confirmed. */
export interface Wire {
  streams: RTCDataChannel;
  live: RTCDataChannel;
  /** The host's. */
  clock: ClockSync;
}

// Streams.

/** How frames are delivered; the deadline is in milliseconds. */
export type Mode = "reliable" | { realTime: number };

/** Why a subscriber gets no more. */
export type EndReason = "unknown" | "too_slow" | "gone" | "refused" | "protocol";

/** A stream of the host's. */
export interface Stream {
  /** `vector`, `map`, `video`, or the number of another. */
  kind: string | number;
  name: string;
  mode: Mode;
  /** How the payload is to be read: `cbor`, `bytes`, or an application's own word. */
  format: string;
  /** Of whose stream it is a copy, if the host passes on a client's. */
  of: string | null;
}

/** How a stream of single items fared. */
export interface Counts {
  /** Items that came whole and in time. */
  received: number;
  /** Those of a real-time stream that did not come, or not whole. */
  lost: number;
  /** Those that were past their deadline when they came, or when they would have been taken. */
  late: number;
  /** Those that the program had not taken when newer ones came. */
  dropped: number;
}

/** After a reset all may be different. */
export type Change = { type: "insert"; key: any; value: any } | { type: "remove"; key: any } | { type: "reset" };

/** What a publisher tells of a stream. */
export interface Announcement {
  /** Another for each stream of a publisher, which draws the first: numbers are used again. */
  run: number;
  /** One of `KIND`, or an application's own from 128 on. */
  kind: number;
  mode: Mode;
  /** Unique among the publisher's streams of a kind. */
  name: string;
  /** As of a {@link Stream}. */
  format: string;
  of: string | null;
}

/** A frame but for its payload. */
export interface FrameHead {
  /** Ours, if it is not told. */
  type?: number;
  flags?: number;
  /** The publisher's number of it. */
  stream: number;
  /** Of the frame in the stream, from 1 on. */
  number: number;
  /** When it was made, on the host's clock; 0 if that is not known. */
  capturedUs: number;
}

/** A part of a frame. Its time of capture is only in the first. */
export interface Fragment {
  type: "fragment";
  /** The type of its frame. */
  kind: number;
  flags: number;
  stream: number;
  number: number;
  capturedUs: number;
  /** Bytes of the whole frame. */
  total: number;
  /** Where in the frame this part begins. */
  offset: number;
  data: Uint8Array;
}

/** A frame whose parts have all come. */
export interface Frame {
  flags: number;
  number: number;
  capturedUs: number;
  payload: Uint8Array;
}

/** What the two sides of a stream say about it. */
export type Control =
  | { type: "announce"; stream: number; announcement: Announcement }
  | { type: "withdraw" | "pause" | "resume" | "unsubscribe" | "all_told"; stream: number }
  | { type: "subscribe"; stream: number; number: number; window: number; tag: number }
  | { type: "consumed"; stream: number; number: number; window: number }
  | { type: "began"; stream: number; number: number; snapshot: number; tag: number }
  | { type: "ended"; stream: number; reason: EndReason; tag: number };

export type Message = Fragment | Control;
