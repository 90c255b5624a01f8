"""A trickle publisher and subscriber on aiohttp, as the Python peers write them.

    aiohttp_client.py CHANNEL_URL {pool|close} SEGMENTS

The publisher opens the POST of segment n+1 as soon as segment n begins, long before it has anything to send; aiohttp 3.12 and
later then open a silent socket, earlier ones send the request head. The subscriber starts at -2, follows Lp-Trickle-Seq and
Lp-Trickle-Latest, and asks for n+1 when the head of n arrives. `pool` keeps connections; `close` says `Connection: close` on
every request. Ends with 0 when every byte came through.
"""

import asyncio
import hashlib
import sys

import aiohttp

CHUNKS = 5
MISSING = 470


def chunk_of(seq, i):
    seed = hashlib.sha256(f"{seq}/{i}".encode()).digest()
    return seed * (1 + (seq * 37 + i * 11) % 900)


def segment_of(seq):
    return b"".join(chunk_of(seq, i) for i in range(CHUNKS))


class Publisher:
    def __init__(self, session, url, headers):
        self.session, self.url, self.headers = session, url, headers
        self.queues, self.posts = {}, {}

    def preconnect(self, seq):
        queue = self.queues[seq] = asyncio.Queue()

        async def body():
            while (chunk := await queue.get()) is not None:
                yield chunk

        async def post():
            headers = {"Content-Type": "video/mp2t", **self.headers}
            async with self.session.post(f"{self.url}/{seq}", headers=headers, data=body()) as response:
                return response.status, dict(response.headers), await response.read()

        self.posts[seq] = asyncio.create_task(post())

    async def run(self, segments):
        self.preconnect(0)
        for seq in range(segments):
            self.preconnect(seq + 1)
            # The socket of seq has been open for long by now; sometimes for very long.
            await asyncio.sleep(1.2 if seq == 2 else 0.05)
            for i in range(CHUNKS):
                self.queues[seq].put_nowait(chunk_of(seq, i))
                await asyncio.sleep(0.01)
            self.queues[seq].put_nowait(None)
            status, headers, body = await self.posts[seq]
            assert status == 200 and body == b"", (seq, status, body)
            assert headers["Lp-Trickle-Seq"] == str(seq), headers
        # As ai-runner leaves: an empty body on the pending POST, then DELETE.
        self.queues[segments].put_nowait(None)
        status, headers, _ = await self.posts[segments]
        assert status == 200 and headers["Lp-Trickle-Seq"] == str(segments), (status, headers)
        async with self.session.delete(self.url, headers=self.headers) as response:
            assert response.status == 200, response.status
        async with self.session.delete(self.url, headers=self.headers) as response:
            assert response.status == 400, response.status


class Subscriber:
    def __init__(self, session, url, headers):
        self.session, self.url, self.headers = session, url, headers
        self.got, self.missing = {}, 0

    async def ask(self, seq):
        return await self.session.get(f"{self.url}/{seq}", headers=self.headers)

    async def run(self, start):
        pending = asyncio.create_task(self.ask(start))
        while True:
            response = await pending
            if response.status == MISSING:
                self.missing += 1
                latest = int(response.headers["Lp-Trickle-Latest"])
                response.release()
                pending = asyncio.create_task(self.ask(latest))
                continue
            if response.status == 404:
                response.release()
                return
            assert response.status == 200, response.status
            seq = int(response.headers["Lp-Trickle-Seq"])
            if "Lp-Trickle-Closed" in response.headers:
                response.release()
                return
            pending = asyncio.create_task(self.ask(seq + 1))
            body = b""
            while chunk := await response.content.read(32 << 10):
                body += chunk
            response.release()
            self.got[seq] = body


async def main(url, style, segments):
    headers = {"Connection": "close"} if style == "close" else {}

    def session():
        connector = aiohttp.TCPConnector(ssl=False, force_close=style == "close")
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))

    async with session() as publishing, session() as subscribing:
        publisher = Publisher(publishing, url, headers)
        subscriber = Subscriber(subscribing, url, headers)
        lost = Subscriber(subscribing, url, headers)
        reading = asyncio.gather(subscriber.run(-2), lost.run(77))
        await asyncio.sleep(0.1)
        await publisher.run(segments)
        await asyncio.wait_for(reading, 10)
    for seq in range(segments):
        assert subscriber.got.get(seq) == segment_of(seq), f"segment {seq} differs"
    assert subscriber.got.get(segments, b"") == b""
    # One that asked for what does not exist was sent to where the stream is.
    assert lost.missing == 1 and lost.got.get(segments - 1) == segment_of(segments - 1), (lost.missing, list(lost.got))
    print(f"aiohttp {aiohttp.__version__}, {style}: {segments} segments, every byte")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
