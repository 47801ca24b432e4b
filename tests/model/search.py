"""Breadth-first search over all states of a scenario, to a depth.

In each state it is asked what becomes of it when nothing more goes wrong and nobody writes
any more: everything runs to its end, with heartbeats as an idle reader sends them.  Then Redis
equals MySQL, or somebody has stopped with an error; anything else is a counterexample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.model.state import STOPPED, Reader, Sink, State, Wrong
from tests.model.world import World

BEGINS = ("ask", "begin")
ROUNDS, STEPS = 12, 400
"""More would be a livelock."""


@dataclass(kw_only=True)
class Found:
    """What a search saw."""

    states: int = 0
    depth: int = 0
    complete: bool = False
    """There are no states behind that depth."""
    ends: Counter[str] = field(default_factory=Counter)
    """``equal`` and ``stopped``: what becomes of the states."""
    wrong: str = ""
    """Why, and the way there; empty: nothing is."""


class Search:
    """One search."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._drained: dict[State, State] = {}
        self._ends: dict[State, str] = {}

    def run(self, depth: int) -> Found:
        """Look at all states to a depth, or until something is wrong."""
        found = Found()
        start = self._world.start()
        came: dict[State, tuple[State, str] | None] = {start: None}
        level = [start]
        while level and found.depth <= depth:
            behind: list[State] = []
            for state in level:
                try:
                    found.ends[self._end(state)] += 1
                    for name, after in self._world.steps(state):
                        if after not in came:
                            came[after] = (state, name)
                            behind.append(after)
                except Wrong as error:
                    found.wrong = f"{error}\n{_way(came, state)}"
                    found.states = len(came)
                    return found
            level = behind
            found.depth += 1
        found.states, found.complete = len(came), not level
        return found

    def _end(self, state: State) -> str:
        """Return what becomes of a state: ``equal`` or ``stopped``.

        Raises:
            Wrong: Redis is not right, and nobody says so.
        """
        state = self._drain(state._replace(faults=0, beats=0, bares=0))
        end = self._ends.get(state)
        if end is None:
            end = self._ends[state] = self._judge(state)
        return end

    def _judge(self, state: State) -> str:
        for _ in range(ROUNDS):
            if STOPPED in state.readers or STOPPED in state.sinks:
                return STOPPED
            calm = state
            for n, reader in enumerate(state.readers):
                if isinstance(reader, Reader):
                    state = self._drain(self._world.turn(calm, n, reader, beat=True)[1])
                    break
            is_calm = state.readers == calm.readers or state.stream[:-1] == calm.stream
            if is_calm and state.redis.data == calm.redis.data:
                break
        else:
            raise Wrong("it never comes to rest")
        want = self._world.versions[state.written]
        data = state.redis.data
        if data[: len(want)] != want:
            raise Wrong(f"at rest Redis holds {data} in place of {want}")
        bare = self._world.newest_bare(state)
        if bare and bare not in state.dead and int(data[-1] or 0) < int(bare):
            raise Wrong(f"at rest Redis holds {data[-1]} where {bare} was published")
        return "equal"

    def _drain(self, state: State) -> State:
        """Let everything run on; of two readers, one that has to begin again does so last."""
        way: list[State] = []
        while (known := self._drained.get(state)) is None and len(way) < STEPS:
            way.append(state)
            after = next((after for _, after in self._next(state)), None)
            if after is None:
                known = state
                break
            state = after
        if known is None:
            raise Wrong("it runs for ever")
        for passed in way:
            self._drained[passed] = known
        return known

    def _next(self, state: State) -> Iterator[tuple[str, State]]:
        runs = any(isinstance(reader, Reader) for reader in state.readers)
        follows = any(isinstance(sink, Sink) for sink in state.sinks)
        for name, after in self._world.work(state):
            if (name.startswith("attach") and runs) or (name.startswith(BEGINS) and follows):
                continue
            yield name, after


def _way(came: dict[State, tuple[State, str] | None], state: State) -> str:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, name = before
        steps.append(name)
    return ", ".join(reversed(steps))
