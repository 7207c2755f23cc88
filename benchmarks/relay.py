"""A wide-area network on loopback: a TCP relay that delays what passes through it.

``python benchmarks/relay.py LISTEN TARGET --rtt-ms 60`` prints ``ready`` and runs until killed.
Each direction is late by half the round trip, in order, and so is the connection itself; what
was sent while other bytes were under way arrives right behind them, as on a real line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket

CHUNK_BYTES = 65536
IN_FLIGHT = 1024


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Everything from `reader` to `writer`, each part `seconds` after it came."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
    clock = asyncio.get_running_loop().time

    async def deliver() -> None:
        while True:
            due, part = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not part:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(part)
            await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver())
        while True:
            part = await reader.read(CHUNK_BYTES)
            await under_way.put((clock() + seconds, part))
            if not part:
                return


async def serve(listen: int, target: int, rtt_seconds: float) -> None:
    """Relay every connection to `listen` on loopback to `target` there, for ever."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(rtt_seconds)  # the handshake's round trip
        with contextlib.suppress(OSError, ExceptionGroup):
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", target)
            for end in (writer, onward):
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.closing(onward):
                async with asyncio.TaskGroup() as group:
                    group.create_task(carry(reader, onward, rtt_seconds / 2))
                    group.create_task(carry(onward_reader, writer, rtt_seconds / 2))
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", listen)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--rtt-ms", type=float, default=60.0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.listen, given.target, given.rtt_ms / 1000))


if __name__ == "__main__":
    main()
