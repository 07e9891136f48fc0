/**
 * How far behind the picture is, and where the time goes.
 *
 * A page gets no look at coded frames without delaying them, so the host tells several times a second what it knows of
 * its newest frame. Its RTP timestamp tells the capture times of all others.
 * @module
 */

import { DelayWindow } from "./clock.js";

/**
 * @import { Link } from "./link.js"
 * @import { Second, SentFrame, Stages } from "./shapes.js"
 */

/** Frames of which it is remembered when they came. */
const MAX_RECEIVED = 60;
/** Frames whose times are kept until they are taken: ten seconds at 30 frames a second. */
const MAX_SAMPLES = 300;
/** Ticks of RTP's clock in a millisecond. */
const TICKS = 90;

/** @param {number[]} values */
function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/**
 * From the grab of the picture until its packets went to the socket, microseconds.
 * @param {SentFrame} frame
 */
function inHostUs({ captureUs, convertUs, encodeWaitUs, encodeUs, sendQueueUs }) {
  return captureUs + convertUs + encodeWaitUs + encodeUs + sendQueueUs;
}

/** Looks at frames as they are shown, and at what the host says of some. */
export class Figures {
  #link;
  #delay = new DelayWindow();
  /** When frames had come, milliseconds, by RTP timestamp. @type {Map<number, number>} */
  #received = new Map();
  /** The host's last word on a frame, and its words since the last second. @type {SentFrame[]} */
  #samples = [];
  /** @type {SentFrame | null} */
  #newest = null;
  /** Milliseconds: ages of frames when they had come, and from there. @type {[number, number, number][]} */
  #shown = [];
  #last = { at: performance.now(), bytes: 0, frames: 0 };
  /** @type {HTMLVideoElement | null} */
  #video = null;

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    link.on("sample", (frame) => this.#sampled(frame));
  }

  /** @param {HTMLVideoElement} video where the stream is shown */
  watch(video) {
    this.#video = video;
    video.requestVideoFrameCallback?.((_, frame) => this.#show(frame));
  }

  stop() {
    this.#video = null;
  }

  /** @param {SentFrame} frame */
  #sampled(frame) {
    if (frame.number === this.#newest?.number) return;
    this.#newest = frame;
    this.#samples.push(frame);
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.#measure();
  }

  /** Tells the host how the newest frame fared of which both sides know something. */
  #measure() {
    const frame = this.#newest;
    const receivedAt = frame && this.#received.get(frame.timestamp);
    if (!frame || !receivedAt) return;
    const { newest, clock } = this.#link;
    const receivedUs = receivedAt * 1000;
    newest.frame = frame.number;
    newest.latencyUs = Math.round(Math.max(clock.ageUs(frame.capturedUs, receivedUs) ?? 0, 0));
    const queuedUs = this.#delay.aboveShortest(receivedUs, receivedUs - frame.capturedUs - inHostUs(frame));
    newest.queuedUs = Math.round(Math.max(newest.queuedUs, queuedUs));
  }

  /** @param {VideoFrameCallbackMetadata} frame */
  #show(frame) {
    if (!this.#video) return;
    this.#video.requestVideoFrameCallback((_, next) => this.#show(next));
    const { rtpTimestamp, receiveTime, processingDuration = 0, expectedDisplayTime, presentationTime } = frame;
    if (rtpTimestamp === undefined || receiveTime === undefined) return;
    if (this.#received.size >= MAX_RECEIVED) this.#received.delete([...this.#received.keys()][0] ?? 0);
    this.#received.set(rtpTimestamp, receiveTime);
    if (rtpTimestamp === this.#newest?.timestamp) this.#measure();
    if (!this.#newest) return;
    const later = ((rtpTimestamp - this.#newest.timestamp) | 0) / TICKS;
    const age = this.#link.clock.ageUs(this.#newest.capturedUs + later * 1000, receiveTime * 1000);
    const decode = processingDuration * 1000;
    // Without a good guess, when the compositor got the frame: it is seen no sooner.
    const seen = Math.max(expectedDisplayTime, presentationTime) - receiveTime;
    if (age === null) return;
    this.#shown.push([age / 1000, decode, Math.max(seen - decode, 0)]);
    if (this.#shown.length > MAX_SAMPLES) this.#shown.shift();
  }

  /** @returns {{ latency: number | null, stages: Stages | null }} since the last call */
  #takeStages() {
    const [samples, shown] = [this.#samples.splice(0), this.#shown.splice(0)];
    if (this.#newest && samples.length === 0) samples.push(this.#newest);
    if (samples.length === 0 || shown.length === 0) return { latency: null, stages: null };
    const of = (/** @type {(frame: SentFrame) => number} */ field) => median(samples.map(field)) / 1000;
    const [age, decode, present] = [0, 1, 2].map((i) => median(shown.map((times) => times[i] ?? 0)));
    const captureWait = of((frame) => frame.captureWaitUs);
    const stages = {
      capture_wait: captureWait,
      capture: of((frame) => frame.captureUs),
      convert: of((frame) => frame.convertUs),
      encode_wait: of((frame) => frame.encodeWaitUs),
      encode: of((frame) => frame.encodeUs),
      send_queue: of((frame) => frame.sendQueueUs),
      network: Math.max((age ?? 0) - of(inHostUs), 0),
      decode: decode ?? 0,
      present: present ?? 0,
    };
    return { latency: captureWait + median(shown.map(([...times]) => times.reduce((a, b) => a + b))), stages };
  }

  /**
   * Figures since the last call.
   * @returns {Promise<Second>}
   */
  async take() {
    const stats = [...(await this.#link.stats()).values()];
    const video = stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
    const pair = stats.find(({ id }) => id === stats.find(({ type }) => type === "transport")?.selectedCandidatePairId);
    const [local, remote] = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) =>
      stats.find((entry) => entry.id === id),
    );
    const [now, bytes] = [performance.now(), video?.bytesReceived ?? 0];
    const seconds = (now - this.#last.at) / 1000;
    const { rttUs } = this.#link.clock;
    const second = {
      fps: ((video?.framesDecoded ?? 0) - this.#last.frames) / seconds,
      bitrate: ((bytes - this.#last.bytes) * 8) / seconds,
      ...this.#takeStages(),
      lost: video?.packetsLost ?? 0,
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      rtt: rttUs === null ? null : rttUs / 1000,
      path: `${local?.candidateType ?? "?"} – ${remote?.candidateType ?? "?"}`,
      remote: remote ? `${remote.address}:${remote.port}` : "",
    };
    this.#last = { at: now, bytes, frames: video?.framesDecoded ?? 0 };
    return second;
  }
}
