"""``python -m benchmarks``: every scenario in one run, ours, the peers and the limit."""

from __future__ import annotations

import compileall
import dataclasses
import sys
from pathlib import Path

import click

from benchmarks import debezium, machine, report
from benchmarks.measurement import OURS, Results
from benchmarks.scenarios import SCENARIOS, Options, Run
from benchmarks.servers import Servers
from benchmarks.systems import Cdc, Debezium, Naive, System
from cdc import compiled

ROOT = Path(__file__).parents[1]
DEFAULTS = Options()
SYSTEMS = ("cdc", "naive", "debezium")


class _Names(click.ParamType):  # type: ignore[type-arg]  # generic in its stub alone
    """Names separated by commas, each a known one."""

    name = "names"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names as a tuple."""
        names = tuple(value) if isinstance(value, tuple) else tuple(str(value).split(","))
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is none of {', '.join(self._known)}", param, ctx)
        return names


@click.command(context_settings={"show_default": True})
@click.option("--only", type=_Names(tuple(SCENARIOS)), default=tuple(SCENARIOS), help="Scenarios.")
@click.option("--systems", type=_Names(SYSTEMS), default=SYSTEMS, help="Systems.")
@click.option("--rows", default=DEFAULTS.rows, help="Rows changed in a drain's backlog.")
@click.option(
    "--large-rows",
    default=DEFAULTS.large_rows,
    help="Rows of the one transaction and of the largest backlog of growth.",
)
@click.option("--rounds", default=DEFAULTS.rounds, help="How often each is measured.")
@click.option("--limit-s", default=DEFAULTS.limit_s, help="Longest single drain.")
@click.option(
    "--latency-s", default=DEFAULTS.latency_s, help="How long each rate of latency lasts."
)
@click.option("--debezium-poll-ms", default=debezium.POLL_MS, help="Its poll.interval.ms.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables.")
def main(
    only: tuple[str, ...],
    systems: tuple[str, ...],
    json_file: Path | None,
    markdown: Path | None,
    debezium_poll_ms: int,
    **sizes: float,
) -> None:
    r"""Measure on real servers, in one run; print the tables, write them where asked to.

    The files are written anew after each measurement, so an interrupted run leaves what it has.
    A whole run takes about 40 minutes on 2 cores, 20 GB of disk and 8 GB of memory.

    \b
    python -m benchmarks --only drain100,latency --systems cdc
    python -m benchmarks --large-rows 1000000 --json bench.json --markdown bench.md
    """
    options = Options(**sizes)  # type: ignore[arg-type]  # click has checked them
    results = Results()
    for package in compiled.PACKAGES:
        # As an installation has it, whatever changed since and whether or not Python may write.
        compileall.compile_dir(ROOT / package, quiet=1)
    with Servers() as servers:
        found = _systems(servers, systems, debezium_poll_ms, results)
        facts = machine.describe(servers)

        def keep(complete: bool = False) -> None:
            if markdown:
                _write(markdown, report.to_markdown(facts, results, complete).encode())
            if json_file:
                about = dataclasses.asdict(options)
                _write(json_file, report.to_json(facts, about, results, complete))

        run = Run(servers, found, options, results, click.echo, keep)
        for name in only:
            click.echo(f"== {name}")
            with run.attempt(name, "the scenario"):
                SCENARIOS[name](run)
        keep(complete=True)
    click.echo(report.to_markdown(facts, results))
    ended_badly = (f": {OURS} failed: ", ": the scenario failed: ")
    sys.exit(any(end in note for note in results.notes for end in ended_badly))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _systems(
    servers: Servers, wanted: tuple[str, ...], poll_ms: int, results: Results
) -> list[System]:
    out: list[System] = []
    if "cdc" in wanted:
        out.append(Cdc(servers))
    if "naive" in wanted:
        out.append(Naive(servers))
    if "debezium" in wanted:
        try:
            out.append(Debezium(servers, debezium.prepare(), poll_ms))
            results.note(
                f"Debezium: a new JVM for each measurement, no broker; poll.interval.ms {poll_ms} "
                f"(its default is {debezium.POLL_MS})"
            )
        except debezium.Missing as why:
            results.note(f"Debezium was left out: {why}")
            click.echo(f"Debezium is left out: {why}")
    return out


if __name__ == "__main__":
    main()
