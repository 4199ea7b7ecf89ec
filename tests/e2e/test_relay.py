"""A conformant pipe: what one side sends is what the other gets, frame by frame."""

import asyncio
import os
import time

import pytest
import websockets

from backends import BenchBackend, EchoBackend, RawBackend, switching
from clients import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frames, Ledger, NodeClient, RawClient, make_frame,
                     nothing_lost)
from sluice import connect, wait_for

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 70001, 1_000_000, 16 * 1024 * 1024]


@pytest.fixture(scope="module")
def guest(world):
    return world.guest()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("listener", ["ws", "wss"])
def test_messages_of_every_size_come_back_as_they_were_sent(world, guest, run, size, listener):
    api, _, token, _ = guest
    data = os.urandom(size)

    async def talk():
        async with connect(world.url(api, listener=listener), token, ca=world.control.ca, max_size=None) as connection:
            await connection.send(data)
            assert await connection.recv() == data
            await connection.send("text \u00e9\u4e2d\U0001f600")
            assert await connection.recv() == "text \u00e9\u4e2d\U0001f600"
    run(talk())


def test_a_message_over_16_mib_is_too_large_by_default(guest, run):
    _, _, token, url = guest

    async def talk():
        async with connect(url, token, max_size=None) as connection:
            try:
                await connection.send(b"x" * (16 * 1024 * 1024 + 1))
            except websockets.ConnectionClosed:
                pass  # told while it was still being sent
            await connection.wait_closed()
            return connection.close_code, connection.close_reason
    assert run(talk()) == (1009, "message over 16777216 bytes")


def test_frames_keep_their_cuts_their_kind_and_their_order(world, started):
    seen = []

    def script(connection, head):
        connection.sendall(switching(head))
        frames = Frames(connection)
        while True:
            frame = frames.next()
            seen.append(frame)
            connection.sendall(make_frame(frame[1], frame[2], fin=frame[0], mask=False))
            if frame[1] == CLOSE:
                return
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url)
    sent = [(False, TEXT, b"one "), (True, PING, b"between"), (False, CONTINUATION, b""), (True, CONTINUATION, b"two"),
            (True, BINARY, bytes(range(256))), (True, PONG, b"unasked"), (True, TEXT, b""), (True, PING, b""),
            (True, CLOSE, b"\x03\xe8bye")]
    with RawClient(url, token) as client:
        for fin, opcode, payload in sent:
            client.send(opcode, payload, fin=fin)
        got = [client.next()[:3] for _ in sent]
    assert [frame[:3] for frame in seen] == sent and got == sent


def test_bytes_in_any_cuts_make_the_same_frames(guest):
    _, _, token, url = guest
    stream = make_frame(TEXT, "x" * 300) + make_frame(TEXT, "a", fin=False) + make_frame(PING, "p") + make_frame(
        CONTINUATION, "b")
    with RawClient(url, token) as client:
        for i in range(len(stream)):
            client.socket.sendall(stream[i:i + 1])
        frames = [client.next()[:3] for _ in range(3)]
    assert sorted(frames) == sorted([(True, TEXT, b"x" * 300), (True, PONG, b"p"), (True, TEXT, b"ab")])


def test_the_back_ends_first_words_come_with_or_after_its_101(world, started):
    def script(connection, head):
        connection.sendall(switching(head) + make_frame(TEXT, "at once", mask=False))
        connection.recv(1)
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url)
    with NodeClient(url, token) as node:
        assert node.event("message")["data"] == "at once"


def test_further_headers_of_the_101_pass(world, started):
    def script(connection, head):
        connection.sendall(switching(head, "Set-Cookie: a=b", "X-Of-The-Backend: yes"))
        connection.recv(1)
    backend = started(RawBackend(script))
    _, _, token, url = world.guest(endpoint=backend.url)
    with RawClient(url, token) as client:
        assert client.headers["Set-Cookie"] == "a=b" and client.headers["X-Of-The-Backend"] == "yes"


@pytest.mark.parametrize("library", ["python", "node"])
def test_compression_is_between_the_ends(guest, run, library):
    _, _, token, url = guest
    texts = [f"message {n} " + "again and again " * 50 for n in range(20)]

    async def talk():
        async with connect(url, token, compression="deflate") as connection:
            assert "permessage-deflate" in connection.response_headers["Sec-WebSocket-Extensions"]
            for text in texts:
                await connection.send(text)
                assert await connection.recv() == text
    if library == "python":
        run(talk())
        return
    with NodeClient(url, token, deflate=True) as node:
        assert "permessage-deflate" in node.event("open")["extensions"]
        for number, text in enumerate(texts, 1):
            node.tell(send=text)
            assert node.event("message", number=number)["data"] == text


def test_a_slow_reader_stops_its_sender_and_loses_nothing(world, started, run):
    """64 MiB toward a client that does not read: the back end is stopped, the proxy's memory is not filled."""
    part, count = 256 * 1024, 256
    sent = []

    async def source(connection):
        await connection.recv()
        for number in range(count):
            await connection.send(number.to_bytes(4, "big") * (part // 4))
            sent.append(number)
        await connection.wait_closed()
    backend = started(EchoBackend(source))
    _, _, token, url = world.guest(endpoint=backend.url)
    before = memory(world)

    async def talk():
        async with connect(url, token, max_size=None, max_queue=1) as connection:
            await connection.send("go")
            settled = 0
            while settled != len(sent) or settled == 0:
                settled = len(sent)
                await asyncio.sleep(0.3)  # the sender stands still
            assert len(sent) < count
            assert memory(world) - before < 16 * 1024 * 1024
            for number in range(count):
                assert await connection.recv() == number.to_bytes(4, "big") * (part // 4)
    run(talk(), 60)


def memory(world):
    with open(f"/proc/{world.proxy.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_many_messages_on_many_connections_arrive_once_and_in_order(world, started, tmp_path):
    backend = started(BenchBackend(tmp_path))
    api, _, token, _ = world.guest(endpoint=backend.url)
    ledger = started(Ledger([world.url(api), world.url(api, listener="wss")], [token], 50, depth=8,
                            ca=world.control.ca, folder=tmp_path, arguments=["--messages", 400, "--bytes", 200]))
    report = ledger.finish()
    assert report["opened"] == 50 and report["sent"] == 50 * 400 and nothing_lost(report)
    began = time.time()
    wait_for(lambda: world.usage(api)["messagesDown"] == 50 * 400, lambda: world.usage(api), 20)
    sums = world.usage(api)
    assert time.time() - began < 20
    assert (sums["messagesUp"], sums["bytesUp"], sums["bytesDown"]) == (20_000, 4_000_000, 4_000_000)
    assert sums["connections"] == 50
