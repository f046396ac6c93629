from __future__ import annotations

from pathlib import Path

import pytest
import typer

from nibble import cli, console
from nibble.errors import InputError


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    return int(caught.value.code or 0)


def test_without_arguments_prints_the_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code() == 2
    printed = capsys.readouterr()
    assert "Exit codes: 0 done, 1 the check failed, 2 bad input" in printed.out
    assert printed.err == ""


def test_an_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("frobnicate") == 2
    assert capsys.readouterr().err == "nibble: No such command 'frobnicate'.\n"


@pytest.mark.parametrize("command", [name.removesuffix("_") for name in cli.COMMANDS if name != "import_"])
def test_every_command_documents_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code(command, "--help") == 0
    printed = capsys.readouterr().out
    assert f"Example: nibble {command}" in printed
    assert "--json" in printed


def test_the_readme_shows_every_command() -> None:
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in cli.COMMANDS if f"nibble {name.removesuffix('_')} " not in readme] == []


def test_errors_are_one_line_and_a_traceback_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("verify", "absent.onnx") == 2
    assert capsys.readouterr().err == "nibble: absent.onnx: found No such file or directory, expected an ONNX model\n"
    with pytest.raises(InputError):
        cli.main(["verify", "absent.onnx", "--debug"])


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table("[/x] :dog:.onnx", ("[b]name[/b]",), [("[i]0[/]:cat:",)])
    console.out.print("[bold]q.onnx")
    assert capsys.readouterr().out.split() == ["[/x]", ":dog:.onnx", "[b]name[/b]", "[i]0[/]:cat:", "[bold]q.onnx"]


def _run(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def work(_: typer.Typer) -> None:
        raise raised

    monkeypatch.setattr("nibble.commands.verify.register", lambda app: app.command(name="verify")(lambda: work(app)))
    return _exit_code("verify")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "not enough memory"),
        (OSError(28, "No space left on device", "q.onnx"), 2, "q.onnx: No space left on device"),
        (KeyError("x"), 70, "internal error, KeyError: 'x' (--debug shows where)"),
    ],
)
def test_whatever_happens_is_one_line(
    raised: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(raised, monkeypatch) == code
    assert capsys.readouterr().err == f"nibble: {line}\n"
