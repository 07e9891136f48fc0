// The other end of a transport, in a plain page: plays the video that comes, and sends each message back.
(() => {
  const pc = new RTCPeerConnection();
  const video = document.createElement("video");
  const canvas = document.createElement("canvas");
  [video.muted, video.autoplay] = [true, true];
  document.body.append(video, canvas);
  pc.ontrack = ({ track }) => (video.srcObject = new MediaStream([track]));

  const echo = (channel) => {
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }) => channel.send(data);
  };
  pc.ondatachannel = ({ channel }) => echo(channel);

  const greet = () => {
    const channel = pc.createDataChannel("theirs", { protocol: "echo" });
    echo(channel);
    channel.onopen = () => {
      channel.send("Grüße");
      channel.send(new Uint8Array(256).map((_, at) => at));
      channel.send(new Uint8Array(256 * 1024).map((_, at) => at % 251));
    };
  };

  /** With all candidates: none is passed on later. */
  const described = async (description) => {
    await pc.setLocalDescription(description);
    while (pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => pc.addEventListener("icegatheringstatechange", resolve, { once: true }));
    }
    return pc.localDescription.sdp;
  };

  /** Pictures that change. */
  const film = () => {
    [canvas.width, canvas.height] = [320, 240];
    const context = canvas.getContext("2d");
    let number = 0;
    setInterval(() => {
      context.fillStyle = `hsl(${(number += 7)} 80% 50%)`;
      context.fillRect(number % 300, number % 200, 40, 40);
    }, 40);
    return canvas.captureStream(25).getVideoTracks()[0];
  };

  globalThis.offer = () => {
    pc.addTransceiver("video", { direction: "recvonly" });
    greet();
    return described();
  };
  globalThis.accept = (sdp) => pc.setRemoteDescription({ type: "answer", sdp });
  globalThis.answer = async (sdp) => {
    pc.addTrack(film());
    greet();
    await pc.setRemoteDescription({ type: "offer", sdp });
    return described();
  };

  /** Brightness at the middle of the left and the right half. */
  const halves = () => {
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) return {};
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const green = (x) => context.getImageData(x, height / 2, 1, 1).data[1];
    return { width, height, left: green(width / 4), right: green((3 * width) / 4) };
  };

  globalThis.seen = async () => {
    const stats = [...(await pc.getStats()).values()];
    const of = (type) => stats.find((entry) => entry.type === type) ?? {};
    const { framesDecoded, keyFramesDecoded, nackCount, pliCount, retransmittedPacketsReceived } = of("inbound-rtp");
    const { dtlsState, tlsVersion, dtlsRole, srtpCipher, iceState } = of("transport");
    return {
      ...{ iceState, dtlsState, tlsVersion, dtlsRole, srtpCipher },
      ...{ framesDecoded, keyFramesDecoded, nackCount, pliCount, repairs: retransmittedPacketsReceived },
      ...(of("outbound-rtp").id ? { sent: of("outbound-rtp") } : halves()),
    };
  };
})();
