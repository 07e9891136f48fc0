/**
 * The link to the host: WebRTC, its confirmation, and the control messages on it: docs/control.md.
 * @module
 */

import { ClockSync, nowUs } from "./clock.js";
import { confirm, goodbye, parseControl, ping, report } from "./control.js";
import { Teller } from "./events.js";
import { Failure, parted } from "./failure.js";

/**
 * @import { Binding } from "./binding.js"
 * @import { Bytes, ControlMessage } from "./shapes.js"
 */

const PUNCH_MS = 10_000;
const CONFIRM_MS = 15_000;
const TICK_MS = 50;
/** Tabs in the background tick once a second. */
const PING_MS = 190;
/** Of ICE: small datagrams get through. */
const CONNECTED = /^(connected|completed)$/;
/** Candidates of the host, in its description and after it. */
const MAX_CANDIDATES = 20;
/** A link as quiet as this gets a new path looked for; and it is dead. */
const RESTART_MS = 1500;
const SILENCE_MS = 4000;
/** A channel on which nothing is sent twice. */
const UNRELIABLE = { ordered: false, maxRetransmits: 0 };
/** Channels from this number on carry streams. */
const STREAMS = 2;
/** Reports that tell the same before they become rare. */
const SAME_REPORTS = 6;
const IDLE_REPORT_TICKS = 20;

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
 * Whether a host's candidate leads to one machine, by UDP and by its address: a page is not to look up names, speak TCP
 * or address many for somebody else.
 * @param {string} candidate as in SDP, without `a=`
 */
function leadsSomewhere(candidate) {
  const [, ip = "", port = "0"] = candidate.match(/^candidate:\S+ 1 udp \d+ ([0-9a-f.:]+) (\d{1,5}) typ /i) ?? [];
  const first = Number(ip.split(".")[0]);
  const nowhere = ip.includes(":") ? /^(ff|::$)/i.test(ip) : !(first > 0 && first < 224) || !/^(\d{1,3}\.){3}\d{1,3}$/.test(ip);
  return !nowhere && Number(port) > 0;
}

/**
 * Video as hosts send it, and its repairs.
 * @throws {Failure} if this browser does not know it
 */
export function codecs() {
  const known = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
  const wanted = known.filter(({ mimeType, sdpFmtpLine = "" }) =>
    mimeType.toLowerCase() === "video/h264"
      ? /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=42e0/i.test(sdpFmtpLine)
      : /^video\/(rtx|flexfec-03)$/i.test(mimeType),
  );
  if (!wanted.some(({ mimeType }) => mimeType.toLowerCase() === "video/h264")) {
    throw new Failure("unsupported", "it does not decode H.264");
  }
  return wanted;
}

/**
 * One link. Events: `candidate` (detail: a line for the host), `up`, `ready` (streams may be sent; detail: over what),
 * `stream` (detail: a message about streams), `sample` (detail: a frame as the host knows it), `restart` (a new path is
 * needed), `path` (the path that was thought dead lives), `down` (detail: a {@link Failure}).
 */
export class Link extends Teller {
  #pc;
  #control;
  #pulse;
  #streams;
  #live;
  #receiver;
  /** @type {Binding | null} */
  #binding = null;
  #isUp = false;
  #isDown = false;
  /** Whether the host knows that we are up. */
  #isKnownUp = false;
  #isReady = false;
  #isRestarting = false;
  #ticks = 0;
  #heardAt = 0;
  #restartAt = 0;
  /** @type {number | undefined} */
  #timer;
  /** @type {number | undefined} */
  #limit;
  #arrivals = { packets: 0, missed: 0, bytes: 0 };
  #pingedAt = 0;
  #candidates = 0;
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
    transceiver.setCodecPreferences(codecs());
    this.#receiver = transceiver.receiver;
    // What arrives is shown: no waiting for a smoother picture.
    if ("jitterBufferTarget" in this.#receiver) this.#receiver.jitterBufferTarget = 0;
    this.#control = this.#channel("control", 0);
    this.#pulse = this.#channel("pulse", 1, UNRELIABLE);
    this.#streams = this.#channel("streams", STREAMS);
    this.#live = this.#channel("live", STREAMS + 1, UNRELIABLE);
    this.#pulse.onopen = () => {
      if (this.#isDown) return;
      this.#setLimit(CONFIRM_MS, () => new Failure("tampered", "the link was not confirmed"));
      this.#timer = setInterval(() => this.#tick(), TICK_MS);
      this.#tick();
    };
    this.#pc.onicecandidate = ({ candidate }) => {
      // Names of machines that hide their addresses mean nothing to the host, and TCP it does not speak.
      const line = candidate?.candidate ?? "";
      if (/ 1 udp /i.test(line) && !/\.local /i.test(line)) this.tell("candidate", line);
    };
    this.#pc.onconnectionstatechange = () => {
      if (this.#pc.sctp?.transport.state === "failed") this.#fail(new Failure("tampered", "the encryption of the link failed"));
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
    fingerprint(answer);
    this.#setLimit(PUNCH_MS, () => new Failure(CONNECTED.test(this.#pc.iceConnectionState) ? "packet_size" : "no_path"));
    await this.#take(answer);
    // Not before: the link can speak before the browser shows what it has taken.
    this.#binding = binding;
    this.#confirm().catch(console.debug);
  }

  /** @param {string} answer */
  async #take(answer) {
    this.#candidates = 0;
    const lines = answer.split(/\r?\n/).filter((line) => !line.startsWith("a=candidate:") || this.#isWanted(line.slice(2)));
    await this.#pc.setRemoteDescription({ type: "answer", sdp: lines.join("\r\n") }).catch((error) => {
      throw new Failure("protocol", String(error));
    });
  }

  /** @param {string} candidate the host's */
  #isWanted(candidate) {
    if (!leadsSomewhere(candidate) || this.#candidates >= MAX_CANDIDATES) return false;
    this.#candidates += 1;
    return true;
  }

  /**
   * An offer with which a new path is looked for.
   * @returns {Promise<string>}
   */
  async restart() {
    // One that was never answered is forgotten.
    if (this.#pc.signalingState === "have-local-offer") await this.#pc.setLocalDescription({ type: "rollback" });
    await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: true }));
    return this.#pc.localDescription?.sdp ?? "";
  }

  /** @param {string} answer the host's, to {@link Link.restart} */
  async acceptRestart(answer) {
    const known = fingerprint(this.#pc.remoteDescription?.sdp);
    if (fingerprint(answer).some((byte, i) => byte !== known[i])) throw new Failure("tampered");
    this.#restartAt = performance.now() + RESTART_MS;
    await this.#take(answer);
  }

  /** @param {string} candidate the host's */
  async addCandidate(candidate) {
    if (!this.#isWanted(candidate)) return;
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

  /** @param {string} label @param {number} id @param {RTCDataChannelInit} [more] */
  #channel(label, id, more) {
    const channel = this.#pc.createDataChannel(label, { negotiated: true, id, ...more });
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      if (!(data instanceof ArrayBuffer)) return;
      if (id >= STREAMS) return this.#stream(data);
      const message = parseControl(data);
      if (message) this.#receive(message).catch((error) => this.#fail(Failure.of(error)));
    };
    channel.onclose = () => this.#closed();
    return channel;
  }

  /** @param {ControlMessage} message */
  async #receive(message) {
    if (message.type === "confirm") return this.#confirmed(message.mac, message.verified);
    if (!this.#isUp) return;
    this.#ready();
    if (message.type === "pong") {
      this.clock.sample(message.sentUs, message.receivedUs, nowUs());
      if (message.newest.number > 0) this.tell("sample", message.newest);
    }
    if (message.type === "goodbye") this.#fail(parted(message.reason));
  }

  /** @param {Bytes} mac @param {boolean} verified */
  async #confirmed(mac, verified) {
    this.#isKnownUp = verified;
    if (this.#isUp && verified) this.#ready();
    // They wait for ours.
    if (this.#isUp) return this.#confirm();
    if (this.#isDown || !this.#binding) return;
    const [ours, theirs] = this.#fingerprints();
    if (!(await this.#binding.verify(ours, theirs, mac))) {
      return this.#fail(new Failure("tampered", "the link is not the one that was arranged"));
    }
    if (this.#isUp || this.#isDown) return;
    this.#isUp = true;
    this.#setLimit(null);
    this.#heardAt = performance.now();
    this.tell("up");
    if (this.#isKnownUp) this.#ready();
    this.#tick();
  }

  /** @param {ArrayBuffer} data */
  #stream(data) {
    if (!this.#isUp) return;
    this.#ready();
    this.tell("stream", data);
  }

  /** They speak, so they have verified us, and take what we send. */
  #ready() {
    this.#isKnownUp = true;
    if (this.#isReady) return;
    this.#isReady = true;
    this.tell("ready", { streams: this.#streams, live: this.#live, clock: this.clock });
  }

  /**
   * The client's, then the host's. The browser has checked the host's certificate against its own.
   * @returns {[Bytes, Bytes]}
   */
  #fingerprints() {
    return [fingerprint(this.#pc.localDescription?.sdp), fingerprint(this.#pc.remoteDescription?.sdp)];
  }

  /** All that is repeated. */
  #tick() {
    const tick = this.#ticks;
    this.#ticks += 1;
    if (this.#isUp) this.#listen();
    Promise.all([this.#confirm(), this.#ping(), this.#report(tick)]).catch((error) => {
      // The channel is closing, or there are no figures yet.
      console.debug(error);
    });
  }

  get #canSend() {
    return !this.#isDown && this.#pulse.readyState === "open";
  }

  async #confirm() {
    if (this.#isKnownUp || !this.#binding || !this.#canSend) return;
    const [ours, theirs] = this.#fingerprints();
    const proof = await this.#binding.prove(ours, theirs);
    if (this.#canSend) this.#pulse.send(confirm(proof, this.#isUp));
  }

  async #ping() {
    const now = performance.now();
    if (!this.#isUp || !this.#canSend || now < this.#pingedAt + PING_MS) return;
    this.#pingedAt = now;
    this.#pulse.send(ping(nowUs()));
  }

  /** @param {number} tick */
  async #report(tick) {
    if (!this.#isUp || !this.#canSend) return;
    const arrivals = await this.#count();
    const isNew = arrivals.packets !== this.#arrivals.packets;
    if (isNew) this.#heardAt = performance.now();
    const isIdle = this.#sameReports >= SAME_REPORTS;
    if (!this.#canSend || (isIdle && !isNew && tick < this.#nextReport)) return;
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
      all.missed += entry.packetsLost ?? 0;
      all.bytes += entry.bytesReceived ?? 0;
    }
    // A late one counts as lost until it comes; this number does not fall.
    all.missed = Math.max(all.missed, this.#arrivals.missed);
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
      this.tell("restart");
    } else if (quiet < RESTART_MS && this.#isRestarting) {
      this.#isRestarting = false;
      this.tell("path");
    }
  }

  /** If the host's goodbye is lost, the server brings the reason. */
  #closed() {
    clearInterval(this.#timer);
    if (!this.#isDown) this.#setLimit(1000, () => new Failure("host_closed"));
  }

  /** @param {number | null} ms @param {() => Failure} [failure] */
  #setLimit(ms, failure) {
    clearTimeout(this.#limit);
    if (ms !== null && failure) this.#limit = setTimeout(() => this.#fail(failure()), ms);
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
    this.tell("down", failure);
  }
}
