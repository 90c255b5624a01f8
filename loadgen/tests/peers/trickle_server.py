"""A trickle server in aiohttp: nothing of ours in it, so that the generator is shown to work against a stranger.

Usage: trickle_server.py PORTFILE     listens on a port of the kernel's choice and writes it to PORTFILE

Channels keep five segments, by slot. GET -1 is the next segment, -2 the one being written; what is neither kept nor next is
answered 470 with Lp-Trickle-Latest. No head is sent before a segment's first byte or its end.
"""

import asyncio
import os
import sys

from aiohttp import web

SLOTS = 5
BASE = "/ai/trickle/{name}"


class Segment:
    def __init__(self, seq):
        self.seq, self.data, self.closed, self.changed = seq, bytearray(), False, asyncio.Event()

    def wake(self):
        self.changed.set()
        self.changed = asyncio.Event()

    def close(self):
        self.closed = True
        self.wake()


class Channel:
    def __init__(self):
        self.next, self.closed, self.slots = 0, False, [None] * SLOTS

    def held(self, seq):
        segment = self.slots[seq % SLOTS]
        return segment if segment and segment.seq == seq else None

    def hold(self, seq):
        segment = self.held(seq)
        if segment is None:
            if self.slots[seq % SLOTS]:
                self.slots[seq % SLOTS].close()
            segment = self.slots[seq % SLOTS] = Segment(seq)
        return segment


channels = {}


async def create(request):
    channels.setdefault(request.match_info["name"], Channel())
    return web.Response()


async def delete(request):
    channel = channels.pop(request.match_info["name"], None)
    if channel is None:
        return web.Response(status=400, text="Invalid stream")
    channel.closed = True
    for segment in filter(None, channel.slots):
        segment.close()
    return web.Response()


async def delete_segment(request):
    channel = channels.get(request.match_info["name"])
    segment = channel and channel.held(int(request.match_info["seq"]))
    if segment:
        segment.close()
    return web.Response(status=200 if segment else 400)


async def publish(request):
    channel = channels.get(request.match_info["name"])
    if channel is None:
        return web.Response(status=404, headers={"Connection": "close"})
    seq = int(request.match_info["seq"])
    segment = channel.hold(channel.next if seq == -1 else seq)
    async for data in request.content.iter_any():
        channel.next = segment.seq + 1
        segment.data += data
        segment.wake()
    channel.next = max(channel.next, segment.seq + 1)
    segment.close()
    return web.Response(headers={"Lp-Trickle-Seq": str(segment.seq)})


async def subscribe(request):
    channel = channels.get(request.match_info["name"])
    if channel is None:
        return web.Response(status=404)
    asked = int(request.match_info["seq"])
    seq = {-1: channel.next, -2: max(channel.next - 1, 0)}.get(asked, asked)
    segment = channel.held(seq)
    if segment is None and (seq == channel.next or (channel.next == 0 and seq == 1)):
        segment = channel.hold(seq)
    headers = {"Lp-Trickle-Seq": str(seq), "Lp-Trickle-Latest": str(channel.next)}
    if segment is None:
        return web.Response(status=470, headers=headers, text="Entry not found")
    while not segment.data and not segment.closed:
        await segment.changed.wait()
    if channel.closed and not segment.data:
        headers["Lp-Trickle-Closed"] = "terminated"
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    at = 0
    while at < len(segment.data) or not segment.closed:
        changed = segment.changed
        if at < len(segment.data):
            data = bytes(segment.data[at:])
            at += len(data)
            await response.write(data)
        else:
            await changed.wait()
    await response.write_eof()
    return response


async def main():
    app = web.Application()
    app.router.add_post(BASE, create)
    app.router.add_delete(BASE, delete)
    app.router.add_delete(BASE + r"/{seq:-?\d+}", delete_segment)
    app.router.add_post(BASE + r"/{seq:-?\d+}", publish)
    app.router.add_get(BASE + r"/{seq:-?\d+}", subscribe)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    with open(sys.argv[1] + ".part", "w") as file:
        file.write(str(site._server.sockets[0].getsockname()[1]))
    os.rename(sys.argv[1] + ".part", sys.argv[1])
    await asyncio.sleep(600)


asyncio.run(main())
