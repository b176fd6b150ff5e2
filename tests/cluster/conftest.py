"""Where the cluster's files lie, and KubeRay's schemas where there are any."""

import os
from pathlib import Path

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
