#!/usr/bin/env python3
"""An echo back end to try things with: sends every message back. Needs python3-websockets.

Usage: echo_server.py [--port 9100]
"""

import argparse
import asyncio
import sys

import websockets


async def echo(connection, *_):
    async for message in connection:
        await connection.send(message)


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    arguments = parser.parse_args()
    async with websockets.serve(echo, "127.0.0.1", arguments.port) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"listening echo 127.0.0.1:{port}", file=sys.stderr, flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
