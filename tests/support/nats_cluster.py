"""Three NATS servers on loopback that keep each stream three times."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from cdc.demo.ports import free_port
from cdc.demo.servers import Nats, start_together
from cdc.errors import CdcError
from tests.support.checking import ask_nats
from tests.support.pipeline import wait_for

NODES = 3


class NatsCluster:
    """Servers that find each other, and who of them leads."""

    def __init__(self, stack: ExitStack) -> None:
        """Start them; they are closed with the stack.  The cluster has a leader then."""
        ports = [free_port() for _ in range(NODES)]
        routes = [f"nats-route://127.0.0.1:{port}" for port in ports]
        self.nodes = [
            Nats({"cluster": {"name": "three", "listen": f"127.0.0.1:{port}", "routes": routes}})
            for port in ports
        ]
        start_together(stack, *self.nodes)
        wait_for("a leader of the cluster", self._serves)

    @property
    def url(self) -> str:
        """Address of all: ``nats://127.0.0.1:20101,127.0.0.1:20102,127.0.0.1:20103``."""
        return "nats://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def others(self, *nodes: Nats) -> list[Nats]:
        """Return all but these."""
        return [node for node in self.nodes if node not in nodes]

    def leader(self, *, asked: Nats) -> Nats:
        """Return who leads the stream; waits until somebody does."""
        names = {node.folder.name: node for node in self.nodes}
        seen: list[Nats] = []

        def leads() -> bool:
            about = self._about_stream(asked)
            if about.get("leader") in names:
                seen.append(names[about["leader"]])
            return bool(seen)

        wait_for("a leader of the stream", leads)
        return seen[0]

    def step_down(self, *, asked: Nats) -> None:
        """Let the stream's leader give up its place."""
        ask_nats(asked, "STREAM.LEADER.STEPDOWN.MYSQL")

    def wait_until_whole(self) -> None:
        """Wait until every copy of the stream is up to date."""

        def whole() -> bool:
            replicas = self._about_stream(self.nodes[0]).get("replicas") or ()
            return len(replicas) == NODES - 1 and all(
                replica["current"] and not replica.get("offline") for replica in replicas
            )

        wait_for("all copies of the stream", whole)

    def _about_stream(self, asked: Nats) -> dict[str, Any]:
        try:
            about: dict[str, Any] = ask_nats(asked, "STREAM.INFO.MYSQL").get("cluster") or {}
        except CdcError:
            return {}
        return about

    def _serves(self) -> bool:
        try:
            info: dict[str, Any] = ask_nats(self.nodes[0], "INFO")
        except CdcError:
            return False
        return "streams" in info
