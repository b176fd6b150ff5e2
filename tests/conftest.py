"""What every test gets: a home of its own, no window, few threads, no network; and real data where there is some."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

S3_KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
ROOT = Path(__file__).resolve().parent.parent

# Set before any library reads them, and inherited by the processes that tests start.
os.environ["MPLBACKEND"] = "Agg"
os.environ["DO_NOT_TRACK"] = "true"  # MLflow would report its use
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray keeps to the loopback address, on Linux too; else it looks for the machine's own, and says so where there is none.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # a benchmark asks for its threads itself
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of hundreds of processes compiles pam anew

# How long an example takes says what else the machine does.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Where the tests run in the background Ctrl-C is ignored, and so it would be by the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests of minutes go first: where several processes share the work, none begins one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _ray_folder() -> Iterator[None]:
    """A folder of Ray's own for each process of tests: it finds no cluster but those that its tests start."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray puts sockets there, whose paths have 107 letters
    os.environ["RAY_TMPDIR"] = folder
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _shared_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fixtures that outlive a test must not meet the user's real results either."""
    os.environ["PAM_HOME"] = str(tmp_path_factory.mktemp("shared_home"))


@pytest.fixture(autouse=True)
def pam_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PAM_HOME for each test, outside its `tmp_path`."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PAM_HOME", str(path))
    return path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of all the processes that share a run of the tests."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_mlflow(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a new MLflow store: making one takes seconds, for all of MLflow's migrations run."""
    made = shared_folder / "empty_mlflow.db"
    if not made.exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        folder = tmp_path_factory.mktemp("mlflow")
        SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder)).engine.dispose()
        (folder / "mlflow.db").replace(made)  # another process may have been as quick, and done the same
    return made


@pytest.fixture(scope="session")
def new_home(empty_mlflow: Path) -> Callable[[Path], Path]:
    """Makes a PAM_HOME that has an MLflow store, as after a sweep of anything else, and returns it."""

    def make(home: Path) -> Path:
        (home / "mlflow").mkdir(parents=True)
        shutil.copyfile(empty_mlflow, home / "mlflow" / "mlflow.db")
        return home

    return make


@pytest.fixture(scope="session")
def start_cluster() -> Callable[..., Any]:
    """Starts a Ray cluster of one node on the loopback address, with these arguments of its head."""
    from ray.cluster_utils import Cluster

    from pam.sweep.schedule import patiently

    def start(**words: Any) -> Any:
        head = {"include_dashboard": False, "node_ip_address": "127.0.0.1", **words}
        return patiently(lambda: Cluster(initialize_head=True, head_node_args=head))

    return start


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray that a test starts takes its node for one of a single CPU: a cell at a time, and a process less to start."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 1}')


@pytest.fixture(scope="session")
def _s3() -> Iterator[str]:
    """An S3-compatible server on the loopback address, with a bucket; its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **S3_KEYS)
    client.create_bucket(Bucket="bucket")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def object_store(_s3: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty PAM_HOME in an object store, seen from a machine that has read nothing of it yet; its address."""
    address = f"s3://bucket/{uuid.uuid4().hex}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("PAM_HOME", address)
    monkeypatch.setenv("PAM_CACHE", str(tmp_path_factory.mktemp("machine")))
    return address


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans: PAM_TEST_DATA, else ../shared/data beside the checkout; skips where there is none."""
    path = Path(os.environ.get("PAM_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real scans at {path}; set PAM_TEST_DATA to their folder")
    return path
