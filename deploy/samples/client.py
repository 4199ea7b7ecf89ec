#!/usr/bin/env python3
"""Sends one message and prints the answer. Needs python3-websockets.

The quickstart fills in the URL and the token.
"""

import asyncio

import websockets

URL = "SLUICE_URL"
TOKEN = "SLUICE_TOKEN"


async def main():
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with websockets.connect(URL, extra_headers=headers) as connection:
        await connection.send("Hello from Python")
        print(await connection.recv())


asyncio.run(main())
