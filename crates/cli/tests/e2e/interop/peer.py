"""The other end of a transport, by aiortc: plays the video that comes, and sends each message back.

Objects of JSON, one a line. In: a description, then commands. Out: a description, then how things are.
"""

import asyncio
import json
import sys

import aioice.ice
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack

# The transport has this address, and takes no pair of a loopback address and another. aiortc leaves it out.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

seen = {"frames": 0, "keyframes": 0, "nacks": 0, "repairs": 0, "left": None, "right": None}


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


def echo(channel):
    channel.on("message", channel.send)


def greet(pc):
    channel = pc.createDataChannel("theirs", protocol="echo")
    echo(channel)

    @channel.on("open")
    def opened():
        channel.send("Grüße")
        channel.send(bytes(range(256)))
        channel.send(bytes(at % 251 for at in range(256 * 1024)))


def count(receiver):
    """Counts what aiortc does not count itself: its requests and the repairs that come."""
    nack, handle = receiver._send_rtcp_nack, receiver._handle_rtp_packet
    payload_types = []

    async def counted_nack(*arguments):
        seen["nacks"] += 1
        await nack(*arguments)

    async def counted_handle(packet, **more):
        payload_types.append(packet.payload_type)
        seen["repairs"] += packet.payload_type != payload_types[0]
        seen["ssrc"] = packet.ssrc if packet.payload_type == payload_types[0] else seen["ssrc"]
        await handle(packet, **more)

    receiver._send_rtcp_nack, receiver._handle_rtp_packet = counted_nack, counted_handle


async def play(track):
    while True:
        frame = await track.recv()
        luma = frame.planes[0]
        row = bytes(luma)[frame.height // 2 * luma.line_size :]
        seen["frames"] += 1
        seen["keyframes"] += bool(frame.key_frame)
        seen["left"], seen["right"] = row[frame.width // 4], row[3 * frame.width // 4]
        seen["width"], seen["height"] = frame.width, frame.height


async def negotiate(pc, lines):
    """Answers an offer if the first line is one, with video of its own; offers if not."""
    first = json.loads(await lines.readline())
    greet(pc)
    if first["type"] == "offer":
        pc.addTrack(VideoStreamTrack())
        await pc.setRemoteDescription(RTCSessionDescription(**first))
        await pc.setLocalDescription(await pc.createAnswer())
        say("description", sdp=pc.localDescription.sdp)
        return
    count(pc.addTransceiver("video", direction="recvonly").receiver)
    await pc.setLocalDescription(await pc.createOffer())
    say("description", sdp=pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(**json.loads(await lines.readline())))


async def report(pc):
    while True:
        stats = (await pc.getStats()).values()
        is_reported = any(entry.type == "remote-outbound-rtp" for entry in stats)
        dtls = pc.sctp.transport
        state = {"ice": pc.iceConnectionState, "dtls": dtls.state, "role": dtls._role}
        say("state", **state, is_reported=is_reported, **seen)
        await asyncio.sleep(0.1)


async def main():
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    pc = RTCPeerConnection()
    pc.on("datachannel", echo)
    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(play(track))))
    await negotiate(pc, lines)
    tasks.append(asyncio.ensure_future(report(pc)))
    while command := (await lines.readline()).strip():
        assert json.loads(command)["type"] == "keyframe", command
        await pc.getReceivers()[0]._send_rtcp_pli(seen["ssrc"])


asyncio.run(main())
