"""Where the cluster's files lie, KubeRay's schemas where there are any, and machines and a database of a test's own."""

from __future__ import annotations

import itertools
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster() -> Path:
    return ROOT / "cluster"


@pytest.fixture(scope="session")
def kuberay_schemas() -> Path:
    """KubeRay's CRDs: PAM_TEST_SCHEMAS, else ../shared/schemas beside the checkout; skips where there are none."""
    path = Path(os.environ.get("PAM_TEST_SCHEMAS") or ROOT.parent / "shared" / "schemas") / "kuberay"
    if not path.is_dir():
        pytest.skip(f"no schemas at {path}; set PAM_TEST_SCHEMAS to the folder that holds kuberay/")
    return path


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a PostgreSQL of the test's own, which the network namespaces reach too: through a file's path."""
    words = [Path(__file__).with_name("with_postgres.sh"), "bash", "-c", "echo $MLFLOW_BACKEND_STORE_URI; exec cat"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()  # it stops, and removes what it made


@pytest.fixture
def machines(tmp_path: Path, pam_home: Path) -> Iterator[Machines]:
    """None yet; they share PAM_HOME, and find what lies in the test's folder."""
    own_address = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # keeps Ray to the loopback address
    environment = {name: value for name, value in os.environ.items() if name != own_address}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    made = Machines(tmp_path, environment | {"PAM_HOME": str(pam_home), "PYTHONPATH": path})
    try:
        yield made
    finally:
        made.close()


class Machines:
    """Network namespaces on a bridge, by number from 1, each with an address, a name and processes. Takes root."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self.environment = environment
        self._prefix = f"pam-{uuid.uuid4().hex[:6]}"
        self._first: dict[int, subprocess.Popen[bytes]] = {}
        self._count = itertools.count(1)
        _ip("netns", "add", self._prefix)
        _ip("-n", self._prefix, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._prefix, "link", "set", "bridge", "up")

    @staticmethod
    def address(number: int) -> str:
        return f"192.0.2.{number}"  # of the range for documentation: no real machine has it

    def add(self, number: int) -> None:
        name = self._name(number)
        _ip("netns", "add", name)
        ends = ("link", "add", f"to-{number}", "type", "veth", "peer", "name", "eth", "netns", name)
        _ip("-n", self._prefix, *ends)
        _ip("-n", self._prefix, "link", "set", f"to-{number}", "master", "bridge", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth")
        _ip("-n", name, "link", "set", "eth", "up")
        _ip("-n", name, "route", "add", "default", "dev", "eth")  # by which Ray learns the machine's own address
        alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
        first = ("bash", "-c", f"hostname machine-{number}; exec sleep infinity")
        self._first[number] = subprocess.Popen(["ip", "netns", "exec", name, *alone, *first])

    def power_off(self, number: int) -> None:
        """End the machine's first process, and so all of them, at once."""
        self._first[number].kill()
        self._first[number].wait()

    def cut_off(self, number: int) -> None:
        _ip("-n", self._prefix, "link", "set", f"to-{number}", "down")

    def connect(self, number: int) -> None:
        _ip("-n", self._prefix, "link", "set", f"to-{number}", "up")

    def start(self, number: int, *words: str, again: bool = False) -> subprocess.Popen[bytes]:
        """A process on the machine; `again`: whenever it ends, as systemd would."""
        (first,) = psutil.Process(self._first[number].pid).children()
        inside = ("nsenter", f"--target={first.pid}", "--net", "--pid", "--mount", "--uts")
        loop = ("bash", "-c", 'while :; do "$@"; sleep 1; done', "again") if again else ()
        log = self._folder / f"machine-{number}-{next(self._count)}.log"
        with log.open("wb") as output:
            return subprocess.Popen(
                [*inside, *loop, *words],
                cwd=self._folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """End what was started, without a word."""
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.wait()

    def logs(self) -> str:
        paths = sorted(self._folder.glob("machine-*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}" for path in paths)

    def close(self) -> None:
        for number in self._first:
            self.power_off(number)
            _ip("netns", "del", self._name(number))
        _ip("netns", "del", self._prefix)

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
