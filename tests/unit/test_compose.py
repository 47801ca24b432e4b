"""docker-compose.yml is valid, and names nothing that the settings and config/ do not know."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cdc.network.secret import with_secret
from cdc.settings import SERVERS, SPECS, load

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests/golden/compose/compose-spec.json"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
CDC: dict[str, Any] = SERVICES["cdc"]


def test_it_is_what_the_specification_allows() -> None:
    """Against the JSON schema of the Compose specification."""
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(COMPOSE)


def test_it_has_the_four_parts_and_each_server_is_asked_for_its_health() -> None:
    """Cdc starts when all three answer."""
    assert set(SERVICES) == {*SERVERS, "cdc"}
    assert all("healthcheck" in SERVICES[name] for name in SERVICES)
    assert CDC["depends_on"] == {name: {"condition": "service_healthy"} for name in SERVERS}


def test_every_variable_of_cdc_is_one_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are loaded as in the container, with the mounted files in their places."""
    (tmp_path / "password").write_text("secret")
    env = {
        name: str(tmp_path / "password") if name.endswith("_FILE") else value
        for name, value in CDC["environment"].items()
    }
    env["CDC_CONFIG"] = str(ROOT / "config/compose.toml")
    monkeypatch.chdir(tmp_path)
    settings = load({}, env)

    assert [table.name for table in settings.tables] == ["shop.your_table"]
    for url in (settings.mysql, settings.nats, settings.redis):
        assert with_secret(url).password == "secret"


def parts(port: str) -> list[str]:
    """Return address, port outside as it is where no variable says another, and port inside."""
    address, outside, inside = re.fullmatch(r"(.*?):\$\{[A-Z_]+:-(\d+)\}:(\d+)", port).groups()  # type: ignore[union-attr]  # a port of another form fails here
    return [address, outside, inside]


@pytest.mark.parametrize(
    ("code", "ends"),
    [(0, 0), (1, 1), (2, 0), (3, 0), (65, 0), (69, 69), (70, 70), (73, 0), (77, 0), (78, 0)],
)
def test_what_a_restart_does_not_heal_is_not_restarted(
    tmp_path: Path, code: int, ends: int
) -> None:
    """The container ends with 0 then, and Compose starts it again on a failure alone."""
    assert CDC["restart"] == "on-failure"
    done = subprocess.run(script(tmp_path, f"exit {code}"), capture_output=True, text=True)

    assert done.returncode == ends
    assert ("is not started again" in done.stderr) == (ends != code)


def test_the_container_drains_when_it_is_stopped(tmp_path: Path) -> None:
    """SIGTERM reaches cdc, and the script waits for its end."""
    drains = "trap 'echo drained; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    *command, text = script(tmp_path, drains)
    text = text.replace("pid=$!", "pid=$!; echo known", 1)
    with subprocess.Popen([*command, text], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert {process.stdout.readline() for _ in range(2)} == {"ready\n", "known\n"}
        process.terminate()
        assert process.stdout.readline() == "drained\n"
        assert process.wait(10) == 0


def test_a_signal_before_the_process_has_a_number_is_not_lost(tmp_path: Path) -> None:
    """The script is stopped where it has started cdc and does not know its number yet."""
    command, *arguments = script(tmp_path, "trap 'exit 0' TERM; while :; do sleep 0.01; done")
    arguments[-1] = arguments[-1].replace("cdc run &", "cdc run &\nkill -TERM $$", 1)
    assert "kill -TERM $$\n" in arguments[-1]

    assert subprocess.run([command, *arguments], timeout=10).returncode == 0


def script(folder: Path, cdc: str) -> list[str]:
    """Return the container's command, with another program called cdc on PATH."""
    (folder / "cdc").write_text(f"#!/bin/sh\n{cdc}\n")
    (folder / "cdc").chmod(0o755)
    text = CDC["command"][0].replace("$$", "$")
    return ["/usr/bin/env", f"PATH={folder}:/usr/bin:/bin", *CDC["entrypoint"], text]


@pytest.mark.parametrize("name", SERVERS)
def test_cdc_finds_each_server_at_its_service_and_port(name: str) -> None:
    """Host and port of the URL are a service, and its default port, which it publishes."""
    url = SPECS[name].checked(CDC["environment"][f"CDC_{name.upper()}_URL"])
    published = [parts(port) for port in SERVICES[name]["ports"]]

    assert url.host == name
    assert url.port == SPECS[name].default.port
    assert ["127.0.0.1", str(url.port), str(url.port)] in published


def test_ports_are_open_to_this_machine_alone() -> None:
    """Nothing listens on the network by itself."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_ports_are_those_of_the_shipped_configurations() -> None:
    """nats-server.conf and redis.conf say the same ports."""
    nats = (ROOT / "config/nats/nats-server.conf").read_text()
    redis = (ROOT / "config/redis/redis.conf").read_text()

    assert re.findall(r"^(?:port|http): (\d+)$", nats, re.MULTILINE) == ["4222", "8222"]
    assert re.findall(r"^port (\d+)$", redis, re.MULTILINE) == ["6379"]


def test_every_mounted_file_is_there() -> None:
    """Mounts are files of config/, read-only; or volumes that are declared."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).is_file()
                assert rest.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_every_path_in_a_command_is_mounted() -> None:
    """What a container's script or variable reads is a mount or a secret of that service."""
    for name, service in SERVICES.items():
        mounted = {volume.split(":")[1] for volume in service.get("volumes", ())}
        mounted |= {f"/run/secrets/{secret}" for secret in service.get("secrets", ())}
        text = " ".join(map(str, [*service.get("command", ()), service.get("environment", "")]))
        used = set(re.findall(r"/(?:etc|run/secrets)/[a-z_/.-]+[a-z]\b", text))
        # The script of nats puts its three names together.
        used.discard("/run/secrets/nats")
        assert used <= mounted, name


def test_every_secret_is_used_and_described() -> None:
    """Secrets are files outside the repository, which the README says how to make."""
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    readme = (ROOT / "config/README.md").read_text()
    (names,) = re.findall(r"for name in (.*);", readme)

    assert used == set(COMPOSE["secrets"]) == {f"{name}_password" for name in names.split()}
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./config/secrets/{name}"}
    assert (ROOT / "config/.gitignore").read_text() == "/secrets/\n"


def test_no_password_stands_in_the_file() -> None:
    """Not in a URL, not in a variable."""
    text = (ROOT / "docker-compose.yml").read_text()

    assert re.findall(r"://[^\s/@]*:[^\s/@]+@", text) == []
    assert re.findall(r"PASSWORD: ", text) == []


def test_variables_of_nats_are_those_that_its_script_sets() -> None:
    """Each ``$NATS_…`` of the configuration is exported from a secret."""
    text = (ROOT / "config/nats/nats-server.conf").read_text()
    wanted = set(re.findall(r"\$NATS_([A-Z]+)_PASSWORD", text))
    script = SERVICES["nats"]["command"][0]
    (names,) = re.findall(r"for who in ([A-Z ]+);", script)

    assert wanted == set(names.split())
    assert {f"nats_{who.lower()}_password" for who in wanted} == set(SERVICES["nats"]["secrets"])


def test_the_image_has_no_root_and_no_development_tools() -> None:
    """Slim, another user, and the package without its extras."""
    text = (ROOT / "Dockerfile").read_text()

    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE)[-1].endswith("-slim")
    assert re.findall(r"^USER (\d+)", text, re.MULTILINE) == ["65532"]
    assert "pip install --no-cache-dir .\n" in text
    assert 'ENTRYPOINT ["cdc"]' in text


def test_what_the_image_copies_is_let_in() -> None:
    """.dockerignore lets in exactly what the Dockerfile copies."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE):
        copied |= set(line.split()[:-1])
    ignore = (ROOT / ".dockerignore").read_text().splitlines()

    assert copied == {line[1:] for line in ignore if line.startswith("!")}
