/**
 * The link to the host: WebRTC, its confirmation, and the control messages on it: docs/control.md.
 * @module
 */

import { ClockSync, nowUs } from "./clock.js";
import { confirm, goodbye, parseControl, ping, report } from "./control.js";
import { Failure, parted } from "./failure.js";

/** @typedef {import("./binding.js").Binding} Binding */
/** @typedef {import("./bytes.js").Bytes} Bytes */

const PUNCH_MS = 15_000;
const CONFIRM_MS = 15_000;
const TICK_MS = 100;
const PING_TICKS = 2;
/** A link as quiet as this gets a new path looked for; and it is dead. */
const RESTART_MS = 1500;
const SILENCE_MS = 4000;
/** Reports that tell the same before they become rare. */
const SAME_REPORTS = 3;
const IDLE_REPORT_TICKS = 10;

/**
 * @param {string | undefined} description
 * @returns {Bytes} SHA-256 of the certificate that it names
 * @throws {Failure} if it names none, several, or another hash
 */
function fingerprint(description) {
  const lines = new Set(description?.match(/^a=fingerprint:.*$/gim));
  const [line] = lines;
  const hex = line?.match(/^a=fingerprint:sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})\s*$/i)?.[1];
  if (lines.size !== 1 || !hex) throw new Failure("protocol", "not one SHA-256 fingerprint");
  return Uint8Array.from(hex.split(":"), (byte) => parseInt(byte, 16));
}

/**
 * Asks for video as hosts send it, with its repairs, and for nothing else.
 * @param {RTCRtpTransceiver} transceiver
 */
function preferH264(transceiver) {
  const known = RTCRtpReceiver.getCapabilities("video")?.codecs ?? [];
  const wanted = known.filter(({ mimeType, sdpFmtpLine = "" }) =>
    mimeType.toLowerCase() === "video/h264"
      ? /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=42e0/i.test(sdpFmtpLine)
      : mimeType.toLowerCase() === "video/rtx",
  );
  if (!wanted.some(({ mimeType }) => mimeType.toLowerCase() === "video/h264")) {
    throw new Failure("unsupported", "it does not decode H.264");
  }
  transceiver.setCodecPreferences(wanted);
}

/**
 * One link. Events: `candidate` (detail: a line for the host), `up`, `sample` (detail: a frame as the host knows it), `restart` (a new path is needed), `path` (the path
 * that was thought dead lives), `down` (detail: a {@link Failure}).
 */
export class Link extends EventTarget {
  #pc;
  #control;
  #pulse;
  #receiver;
  /** @type {Binding | null} */
  #binding = null;
  #isUp = false;
  #isDown = false;
  /** Whether the host knows that we are up. */
  #isKnownUp = false;
  #isRestarting = false;
  #ticks = 0;
  #heardAt = 0;
  #restartAt = 0;
  /** @type {number | undefined} */
  #timer;
  /** @type {number | undefined} */
  #limit;
  #arrivals = { packets: 0, missed: 0, bytes: 0 };
  #sameReports = 0;
  #nextReport = 0;
  /** Known from frames; reported to the host. */
  newest = { frame: 0, latencyUs: 0, queuedUs: 0 };

  /** @param {string | null} stun URL of a STUN server */
  constructor(stun) {
    super();
    this.clock = new ClockSync();
    this.#pc = new RTCPeerConnection({
      iceServers: stun ? [{ urls: stun }] : [],
      bundlePolicy: "max-bundle",
    });
    const transceiver = this.#pc.addTransceiver("video", { direction: "recvonly" });
    preferH264(transceiver);
    this.#receiver = transceiver.receiver;
    // What arrives is shown: no waiting for a smoother picture.
    if ("jitterBufferTarget" in this.#receiver) this.#receiver.jitterBufferTarget = 0;
    this.#control = this.#channel("control", { negotiated: true, id: 0 });
    this.#pulse = this.#channel("pulse", { negotiated: true, id: 1, ordered: false, maxRetransmits: 0 });
    this.#pulse.onopen = () => {
      this.#setLimit(CONFIRM_MS, new Failure("tampered", "the link was not confirmed"));
      this.#timer = setInterval(() => this.#tick(), TICK_MS);
      this.#tick();
    };
    this.#pc.onicecandidate = ({ candidate }) => {
      // Names of machines that hide their addresses mean nothing to the host, and TCP it does not speak.
      const line = candidate?.candidate ?? "";
      if (/ udp /i.test(line) && !/\.local /i.test(line)) this.#tell("candidate", line);
    };
  }

  /** What is to be shown once the link is up. */
  get receiver() {
    return this.#receiver;
  }

  get isUp() {
    return this.#isUp;
  }

  /**
   * Ours, for the host.
   * @returns {Promise<string>}
   */
  async offer() {
    await this.#pc.setLocalDescription();
    return this.#pc.localDescription?.sdp ?? "";
  }

  /**
   * Takes the host's answer and looks for a path.
   * @param {string} answer
   * @param {Binding} binding
   */
  async accept(answer, binding) {
    this.#binding = binding;
    fingerprint(answer);
    this.#setLimit(PUNCH_MS, new Failure("no_path"));
    await this.#pc.setRemoteDescription({ type: "answer", sdp: answer }).catch((error) => {
      throw new Failure("protocol", String(error));
    });
  }

  /**
   * An offer with which a new path is looked for.
   * @returns {Promise<string>}
   */
  async restart() {
    await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: true }));
    return this.#pc.localDescription?.sdp ?? "";
  }

  /** @param {string} answer the host's, to {@link Link.restart} */
  async acceptRestart(answer) {
    const known = fingerprint(this.#pc.remoteDescription?.sdp);
    if (fingerprint(answer).some((byte, i) => byte !== known[i])) throw new Failure("tampered");
    await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  /** @param {string} candidate the host's */
  async addCandidate(candidate) {
    await this.#pc.addIceCandidate({ candidate, sdpMLineIndex: 0 }).catch(() => {
      // One that this browser does not understand; others will do.
    });
  }

  /** Figures of the browser about the video and its path. */
  stats() {
    return this.#pc.getStats();
  }

  /** Says goodbye and closes. */
  close() {
    if (this.#isUp && this.#control.readyState === "open") this.#control.send(goodbye());
    this.#stop();
    // What is queued is sent before DTLS closes.
    setTimeout(() => this.#pc.close(), 100);
  }

  /**
   * @param {string} label
   * @param {RTCDataChannelInit} init
   */
  #channel(label, init) {
    const channel = this.#pc.createDataChannel(label, init);
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      const message = data instanceof ArrayBuffer ? parseControl(data) : null;
      this.#heardAt = performance.now();
      if (message) this.#receive(message).catch((error) => this.#fail(Failure.of(error)));
    };
    channel.onclose = () => this.#fail(new Failure("host_closed"));
    return channel;
  }

  /** @param {import("./control.js").Message} message */
  async #receive(message) {
    if (message.type === "confirm") return this.#confirmed(message.mac, message.verified);
    if (!this.#isUp) return;
    // They speak, so they have verified us.
    this.#isKnownUp = true;
    if (message.type === "pong") {
      this.clock.sample(message.sentUs, message.receivedUs, nowUs());
      if (message.newest.number > 0) this.#tell("sample", message.newest);
    }
    if (message.type === "goodbye") this.#fail(parted(message.reason));
  }

  /**
   * @param {Bytes} mac
   * @param {boolean} verified
   */
  async #confirmed(mac, verified) {
    this.#isKnownUp = verified;
    if (this.#isUp || this.#isDown || !this.#binding) return;
    const [ours, theirs] = this.#fingerprints();
    if (!(await this.#binding.verify(ours, theirs, mac))) {
      return this.#fail(new Failure("tampered", "the link is not the one that was arranged"));
    }
    if (this.#isUp) return;
    this.#isUp = true;
    this.#setLimit(null);
    this.#heardAt = performance.now();
    this.#tell("up");
    this.#tick();
  }

  /**
   * The client's, then the host's. The browser has checked the host's certificate against its own.
   * @returns {[Bytes, Bytes]}
   */
  #fingerprints() {
    return [fingerprint(this.#pc.localDescription?.sdp), fingerprint(this.#pc.remoteDescription?.sdp)];
  }

  /** All that is repeated. */
  async #tick() {
    if (this.#isDown || this.#pulse.readyState !== "open") return;
    const tick = this.#ticks;
    this.#ticks += 1;
    if (!this.#isKnownUp && this.#binding) {
      const [ours, theirs] = this.#fingerprints();
      this.#pulse.send(confirm(await this.#binding.prove(ours, theirs), this.#isUp));
    }
    if (!this.#isUp || this.#isDown) return;
    if (tick % PING_TICKS === 0) this.#pulse.send(ping(nowUs()));
    await this.#report(tick);
    this.#listen();
  }

  /** @param {number} tick */
  async #report(tick) {
    const arrivals = await this.#count();
    const isNew = arrivals.packets !== this.#arrivals.packets;
    if (isNew) this.#heardAt = performance.now();
    const isIdle = this.#sameReports >= SAME_REPORTS;
    if (this.#isDown || (isIdle && !isNew && tick < this.#nextReport)) return;
    this.#arrivals = arrivals;
    this.#sameReports = isNew ? 0 : this.#sameReports + 1;
    this.#nextReport = tick + IDLE_REPORT_TICKS;
    this.#pulse.send(report({ ...arrivals, ...this.newest }));
    // What was under way before says nothing about now.
    this.newest.queuedUs = 0;
  }

  async #count() {
    const all = { packets: 0, missed: 0, bytes: 0 };
    for (const entry of (await this.#receiver.getStats()).values()) {
      if (entry.type !== "inbound-rtp") continue;
      all.packets += entry.packetsReceived ?? 0;
      all.missed += Math.max(entry.packetsLost ?? 0, 0) + (entry.retransmittedPacketsReceived ?? 0);
      all.bytes += entry.bytesReceived ?? 0;
    }
    return all;
  }

  /** Whether the host is still there. */
  #listen() {
    const now = performance.now();
    const quiet = now - this.#heardAt;
    if (quiet >= SILENCE_MS) return this.#fail(new Failure("host_vanished"));
    if (quiet >= RESTART_MS && now >= this.#restartAt) {
      this.#restartAt = now + RESTART_MS;
      this.#isRestarting = true;
      this.#tell("restart");
    } else if (quiet < RESTART_MS && this.#isRestarting) {
      this.#isRestarting = false;
      this.#tell("path");
    }
  }

  /**
   * @param {number | null} ms
   * @param {Failure} [failure]
   */
  #setLimit(ms, failure) {
    clearTimeout(this.#limit);
    if (ms !== null && failure) this.#limit = setTimeout(() => this.#fail(failure), ms);
  }

  #stop() {
    this.#isDown = true;
    clearInterval(this.#timer);
    clearTimeout(this.#limit);
  }

  /** @param {Failure} failure */
  #fail(failure) {
    if (this.#isDown) return;
    this.#stop();
    this.#pc.close();
    this.#tell("down", failure);
  }

  /**
   * @param {string} type
   * @param {unknown} [detail]
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
