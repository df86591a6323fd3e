"""The units in examples/systemd are valid, and the server can do its work in their sandbox."""

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import argon2
import pytest

import simple_chat
from simple_chat.server import cli, ctl
from tests.harness import http
from tests.harness.programs import DEADLINE, find_program
from tests.harness.server import CA, eventually
from tests.harness.supervisor import Supervisor

UNITS = Path(__file__).parents[2] / "examples" / "systemd"
SERVICE = (UNITS / "simple_chat.service").read_text()
EXPOSURE_MAX = 2.0
PROGRAM = "/opt/simple_chat/bin/simple-chat-server"
PLACES = {"%d": "credentials", "%S": "state", "%t": "runtime"}


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="chat") as directory:  # a Unix socket's path can't be long
        yield Path(directory)


@pytest.fixture
def systemd_analyze() -> str:
    return find_program("systemd-analyze")


def arguments_of(setting: str, directory: Path) -> list[str]:
    """Return the arguments of a command in the service, with places in a directory for those of systemd."""
    (command,) = re.findall(rf"^{setting}={PROGRAM} (.+)$", SERVICE, re.MULTILINE)
    for specifier, name in PLACES.items():
        command = command.replace(specifier, str(directory / name))
    return str(command).split(" ")


@pytest.fixture
def places(directory: Path) -> Path:
    """What systemd makes before it starts the service."""
    for name in ("credentials", "state/simple_chat", "runtime/simple_chat"):
        (directory / name).mkdir(parents=True)
    credentials = directory / "credentials"
    leaf = CA.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(credentials / "cert.pem")
    leaf.private_key_pem.write_to_path(credentials / "key.pem")
    (credentials / "password").write_text(argon2.PasswordHasher().hash("s3cret"))
    return directory


def test_units_are_valid(systemd_analyze: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("simple-chat-server")
    units = [tmp_path / unit.name for unit in sorted(UNITS.iterdir())]
    for unit in units:
        unit.write_text((UNITS / unit.name).read_text().replace(PROGRAM, str(program)))
    ended = run(
        [systemd_analyze, "verify", *units], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_service_is_hardened(systemd_analyze: str) -> None:
    command = [
        systemd_analyze,
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE_MAX * 10:.0f}",
        str(UNITS / "simple_chat.service"),
    ]
    ended = run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    found = re.search(r"exposure level for simple_chat\.service: ([\d.]+)", ended.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE_MAX
    assert ended.returncode == 0


def test_drain_ends_before_systemd_loses_patience() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", SERVICE, re.MULTILINE)
    assert int(seconds) > cli.settings_from(cli.parse([])).drain


def test_sockets_have_names_that_the_server_knows() -> None:
    names = [
        re.findall(r"^FileDescriptorName=(.+)$", path.read_text(), re.MULTILINE)
        for path in UNITS.glob("*.socket")
    ]
    assert sorted(names) == [["chat"], ["metrics"]]


# In the sandbox


async def test_service_does_nothing_that_its_sandbox_forbids(systemd_analyze: str, places: Path) -> None:
    calls = await serve_a_member(places)
    names = {call.partition("(")[0] for call in calls}
    assert {"accept4", "sendto"} <= names
    assert names <= allowed_calls(systemd_analyze)
    assert {call.partition(",")[0] for call in calls if call.startswith("socket(")} == {"socket(AF_UNIX"}
    denied = re.compile(r"mmap\(.*PROT_WRITE\|PROT_EXEC|(pkey_)?mprotect\(.*PROT_EXEC|shmat\(.*SHM_EXEC")
    assert [call for call in calls if denied.match(call)] == []  # MemoryDenyWriteExecute=


async def serve_a_member(places: Path) -> list[str]:
    """Run the service as its unit says, be a member, reload it; return the system calls it made."""
    supervisor, trace = Supervisor(places), places / "trace"
    supervisor.wrapper = [find_program("strace"), "-D", "-f", "-q", "-e", "signal=none", "-o", str(trace)]
    with supervisor.sock, ExitStack() as stack:
        chat, metrics = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        server = stack.enter_context(
            supervisor.run(*arguments_of("ExecStart", places), sockets=[("chat", chat), ("metrics", metrics)])
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        CA.configure_trust(tls)
        async with simple_chat.connect(
            "localhost", int(server.port), username="ann", tls=tls, password="s3cret"
        ) as ann:
            await ann.send("hello")
            assert (await http.scrape(metrics.getsockname()))["simple_chat_members"] == 1
            assert await asyncio.to_thread(ctl.main, arguments_of("ExecReload", places)[1:]) == 0
        supervisor.wait_for("RELOADING=1")
        await asyncio.to_thread(server.stop)
    pid = str(server.process.pid)
    await eventually(
        lambda: re.search(rf"^{pid} +\+\+\+ exited with 0 ", trace.read_text(), re.MULTILINE) is not None
    )
    return re.findall(r"^\d+ +(\w+\(.*)$", trace.read_text(), re.MULTILINE)


def allowed_calls(systemd_analyze: str) -> set[str]:
    """Return the system calls that the filter of the service leaves."""
    filters = re.findall(r"^SystemCallFilter=(.+)$", SERVICE, re.MULTILINE)
    allowed: set[str] = set()
    for each in filters:
        calls = {call for name in each.lstrip("~").split() for call in calls_in(systemd_analyze, name)}
        allowed = allowed - calls if each.startswith("~") else allowed | calls
    return allowed


def calls_in(systemd_analyze: str, name: str) -> set[str]:
    """Return the system calls of a set."""
    command = [systemd_analyze, "syscall-filter", name]
    words = run(command, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout.split("\n")[1:]
    found = {word.strip() for word in words if word.strip() and not word.strip().startswith("#")}
    sets = {each for each in found if each.startswith("@")}
    return (found - sets).union(*(calls_in(systemd_analyze, each) for each in sets))
