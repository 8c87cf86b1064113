"""Where the time goes: the mean from a change's commit to each hop, from the processes' own metrics."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.harness.stack import HOST, Stack
from cli.home import Home

_SAMPLE = re.compile(r'^branchline_hop_seconds_(sum|count)\{hop="([^"]+)"\} (\S+)$', re.MULTILINE)
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Hops:
    """By hop: how many changes have passed it, and the sum of the seconds from their commits."""

    counts: Mapping[str, float]
    seconds: Mapping[str, float]

    def means_ms(self, earlier: "Hops") -> dict[str, float]:
        """The mean of those that have passed since, in milliseconds."""
        means = {}
        for hop, count in self.counts.items():
            passed = count - earlier.counts.get(hop, 0.0)
            if passed > 0:
                means[hop] = (self.seconds[hop] - earlier.seconds.get(hop, 0.0)) / passed * 1000
        return means


async def read_hops(stack: Stack) -> Hops:
    """Ask each process of the stack; one that does not answer is left out."""
    counts: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for text in await read_metrics(stack):
        for kind, hop, value in _SAMPLE.findall(text):
            into = counts if kind == "count" else seconds
            into[hop] = into.get(hop, 0.0) + float(value)
    return Hops(counts, seconds)


async def read_metrics(stack: Stack) -> list[str]:
    """What the relay and each gateway say of themselves; nothing of one that does not answer."""
    return await asyncio.gather(*(_fetch_metrics(port) for port in _status_ports(stack)))


async def read_counter(stack: Stack, name: str) -> float:
    """A counter of the relay or the gateways, with its labels if it has any, added up."""
    sample = re.compile(rf"^{re.escape(name)} (\S+)$", re.MULTILINE)
    return sum(float(value) for text in await read_metrics(stack) for value in sample.findall(text))


def _status_ports(stack: Stack) -> list[int]:
    if stack.home is None:
        return []
    environment = Home(stack.home).environment()
    gateway = int(environment["BRANCHLINE_GATEWAY_PORT"])
    return [int(environment["BRANCHLINE_RELAY_PORT"]), *range(gateway + 1, gateway + stack.gateways + 1)]


async def _fetch_metrics(port: int) -> str:
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET /metrics HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.read(-1)).decode()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""
