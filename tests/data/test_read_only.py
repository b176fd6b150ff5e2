"""A source that nobody may write is checked and prepared, and stays as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pam.data import store
from pam.datasets import phantom

BODY = """
import sys
from pathlib import Path
from pam.prepare import main

source = Path(sys.argv[1])
try:
    (source / "HGG" / "new").write_text("")
except OSError as error:
    print("cannot be written:", type(error).__name__)
else:
    sys.exit("the source can be written: this test tests nothing")
sys.exit(main(["brats2018", "--source", str(source), "--check"]) or main(["brats2018", "--source", str(source)]))
"""
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def unwritable(source: Path, command: list[str]) -> list[str]:
    """The command, to be run where the source is read-only: for root, who may write anything, by a mount of its own."""
    if os.geteuid() != 0:
        for path in (source, *source.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        return command
    if shutil.which("unshare") is None:
        pytest.skip("root may write any file, and there is no unshare to mount the source read-only")
    mounted = ["unshare", "--mount", "sh", "-c", MOUNT, str(source), *command]
    tried = subprocess.run([*mounted[:6], "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"root may write any file, and may not mount the source read-only here: {tried.stderr.strip()}")
    return mounted


def test_a_read_only_source_is_checked_and_prepared(tmp_path: Path):
    source = tmp_path / "source"
    phantom.write_tree(source, patients=2, shape=(5, 24, 27))
    before = {path: path.stat() for path in sorted(source.rglob("*"))}
    command = unwritable(source, [sys.executable, "-c", BODY, str(source)])
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in (source, *source.rglob("*")):
        path.chmod(0o755)  # so that the folder can be removed
    assert ran.returncode == 0, ran.stderr
    assert "cannot be written:" in ran.stdout
    assert "2 cases of BRATS 2018" in ran.stdout
    assert len(store.find("brats2018").cases) == 2
    after = {path: path.stat() for path in sorted(source.rglob("*"))}
    assert {path: (s.st_size, s.st_mtime_ns) for path, s in after.items()} == {
        path: (s.st_size, s.st_mtime_ns) for path, s in before.items()
    }
