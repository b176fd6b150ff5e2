"""Names: registered, of installed packages, and module:function."""

from __future__ import annotations

import sys

import pytest

from pam.errors import StudyError
from pam.losses import LOSSES
from pam.registry import REQUIRED, Registry


def make() -> Registry[str]:
    registry: Registry[str] = Registry("thing", group="pam.tests.things")

    @registry.register
    def first(size: int, *, colour: str = "red") -> str:
        return f"{colour} {size}"

    return registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with one entry point, as pip leaves it: code and metadata on the path."""

    def install(
        name: str, target: str, code: str = "def second(size, *, colour='blue'):\n    return f'{colour} {size}'\n"
    ):
        (tmp_path / "their_package.py").write_text(code)
        info = tmp_path / f"their_package_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: their-package-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pam.tests.things]\n{name} = {target}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("their_package", None)


def test_a_part_is_built_by_its_functions_name():
    assert make().build("first", 3, colour="green") == "green 3"
    assert make().options("first") == {"colour": "red"}


def test_a_duplicate_name_is_an_error_that_lists_what_is_registered():
    registry = make()
    with pytest.raises(StudyError, match="thing 'first' is registered already; registered: first"):
        registry.register(registry.get("first"))


def test_an_unknown_name_or_option_is_an_error_that_lists_what_exists():
    with pytest.raises(StudyError, match="unknown thing 'frist'; there are: first"):
        make().build("frist", 1)
    with pytest.raises(StudyError, match="thing 'first' has no option 'color'; it has: colour"):
        make().build("first", 1, color="green")


def test_an_installed_package_adds_its_entry_points(package):
    package("second", "their_package:second")
    registry = make()
    assert registry.names() == ("first", "second")
    assert registry.build("second", 2) == "blue 2"
    assert registry.options("second") == {"colour": "blue"}


def test_an_entry_point_that_takes_a_registered_name_is_an_error_that_says_whose(package):
    package("first", "their_package:second")
    with pytest.raises(
        StudyError, match=r"thing 'first' of entry point .* \(their_package:second\) is registered already"
    ):
        make().names()


def test_a_module_and_function_is_a_name(package):
    package("second", "their_package:second")
    assert make().build("their_package:second", 5, colour="black") == "black 5"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:make", "importing 'no_such_module' failed (No module named 'no_such_module')"),
        ("their_package:third", "no function 'third' in their_package; it has: second"),
    ],
)
def test_a_module_or_function_that_is_not_there_is_an_error(package, name, said):
    package("second", "their_package:second")
    with pytest.raises(StudyError) as error:
        make().build(name, 1)
    assert said in str(error.value)


def test_a_method_of_an_installed_class_can_be_a_part(package):
    code = "class Box:\n    @staticmethod\n    def make(size, *, colour='grey'):\n        return f'{colour} {size}'\n"
    package("boxed", "their_package:Box.make", code)
    assert make().build("boxed", 2) == "grey 2"


@pytest.mark.parametrize(
    ("code", "said"), [("import no_such_library\n", "No module named"), ("def\n", "invalid syntax")]
)
def test_a_module_that_cannot_be_imported_is_an_error_that_says_why(package, code, said):
    package("second", "their_package:second", code)
    with pytest.raises(StudyError, match=f"thing 'second': importing 'their_package' failed .*{said}"):
        make().options("second")


def test_an_argument_with_a_default_is_an_option_and_one_without_must_be_set(package):
    package(
        "second", "their_package:second", "def second(size, colour='red', *, shape):\n    return f'{colour} {shape}'\n"
    )
    assert make().options("second") == {"colour": "red", "shape": REQUIRED}
    assert make().build("second", 1, shape="round") == "red round"
    with pytest.raises(StudyError, match="thing 'second' needs its option 'shape', which has no default"):
        make().build("second", 1)


def test_only_parts_from_outside_have_code_of_their_own(package):
    package("second", "their_package:second")
    assert make().code("second") == make().code("their_package:second") != ""
    assert LOSSES.code("dice") == LOSSES.code("pam.losses:dice") == ""
