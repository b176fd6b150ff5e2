"""The console script `pam`."""

from __future__ import annotations

import pytest

from pam.__main__ import COMMANDS, main


def test_unknown_command_is_one_line_that_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["swep"]) == 2
    known = ", ".join(COMMANDS)
    assert capsys.readouterr().err == f"error: unknown command 'swep'; there are: {known}\n"


def test_no_command_prints_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_tells_what_it_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"pam.{command}" in capsys.readouterr().out
