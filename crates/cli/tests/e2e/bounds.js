// Runs in the page: goes past each bound that the page's modules have. Becomes how many were tried; throws at the first
// that does not hold.
(async () => {
  const modules = ["invite", "entry", "control", "server", "link", "figures", "events"];
  const [{ parseInvite }, { namedRoom }, { parseControl }, { Server }, { Link }, { Figures }, { Teller }] = await Promise.all(
    modules.map((name) => import(`/${name}.js`)),
  );
  let tried = 0;
  const same = (what, found, expected) => {
    if (found !== expected) throw new Error(`${what}: ${found}, not ${expected}`);
    tried += 1;
  };
  const code = async (act) => {
    try {
      await act();
      return "nothing";
    } catch (failure) {
      return failure.code;
    }
  };

  const link = (length) => {
    const parts = ["ctu3M2x2eAAj-D2kw1Xy7uqFczsT00d2l5F3kMEikIQ", "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8",
      "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8"];
    const [begin, end] = ["https://", `/#v2.${parts.join(".")}`];
    return begin + "x".repeat(length - begin.length - end.length) + end;
  };
  same("a long link", await code(() => parseInvite(link(2048))), "nothing");
  same("a link that is too long", await code(() => parseInvite(link(2049))), "bad_link");

  for (const [name, password, expected] of [[64, 256, "nothing"], [65, 256, "bad_room"], [64, 257, "bad_room"]]) {
    const room = () => namedRoom("https://x", "n".repeat(name), "p".repeat(password));
    same(`a name of ${name}, a password of ${password}`, await code(room), expected);
  }

  const goodbye = (length) => parseControl(Uint8Array.from({ length }, (_, i) => (i === 0 ? 5 : 1)).buffer);
  same("a long control message", goodbye(1024)?.type, "goodbye");
  same("a control message that is too long", goodbye(1025), null);

  /** A server that this test plays. */
  const played = () => {
    const socket = { onmessage: null, onclose: null, closed: false, close: () => (socket.closed = true) };
    const server = new Server(socket);
    return { socket, server, say: (data) => socket.onmessage({ data }) };
  };
  for (const [length, expected] of [[65_536, "refused"], [65_537, undefined]]) {
    const { server, say } = played();
    const message = JSON.stringify({ type: "refused", reason: "" });
    say(message.replace('""', `"${"x".repeat(length - message.length)}"`));
    same(`a message of ${length}`, (await server.next())?.type, expected);
  }
  const { socket, say } = played();
  for (let i = 0; i < 256; i += 1) say('{"type":"closed"}');
  same("messages that wait", socket.closed, false);
  say('{"type":"closed"}');
  same("one message too many", socket.closed, true);

  let added = 0;
  RTCPeerConnection.prototype.addIceCandidate = async () => void (added += 1);
  const one = new Link(null);
  for (let i = 0; i < 25; i += 1) await one.addCandidate(`candidate:1 1 udp 1 203.0.113.1 ${5000 + i} typ host`);
  one.close();
  same("candidates", added, 20);

  const told = Object.assign(new Teller(), {
    clock: { ageUs: () => 1000, rttUs: null },
    newest: {},
    stats: async () => new Map(),
  });
  const figures = new Figures(told);
  const sample = (number, captureWaitUs) => {
    const times = { captureUs: 0, convertUs: 0, encodeWaitUs: 0, encodeUs: 0, sendQueueUs: 0, capturedUs: 0 };
    told.tell("sample", { number, timestamp: number, captureWaitUs, ...times });
  };
  for (let i = 0; i < 601; i += 1) sample(i, i < 301 ? 1000 : 2000);
  let shown = 0;
  const frame = { rtpTimestamp: 600, receiveTime: 1, expectedDisplayTime: 1, presentationTime: 1 };
  figures.watch({ requestVideoFrameCallback: (show) => shown++ === 0 && show(0, frame) });
  same("samples", (await figures.take()).stages?.capture_wait, 2);
  return tried;
})();
