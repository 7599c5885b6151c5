"""Which precision `auto` means, for processors that we do not have."""

from pathlib import Path

import pytest

from model.artifact.manifest import Precision
from service.cpus import choose_precision, int8_instructions

ALL: tuple[Precision, ...] = ("float32", "float16", "int8")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f", None),
        ("fpu avx2 avx_vnni", "avx_vnni"),
        ("avx512f avx512_vnni avx_vnni", "avx512_vnni"),
        ("avx512_vnni amx_tile amx_int8", "amx_int8"),
        ("not_avx_vnni avx512_vnni2", None),
    ],
)
def test_the_instruction_set_is_read_from_the_processors_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: str | None
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: avx_vnni\n")

    assert int8_instructions(tmp_path / "cpuinfo") == expected


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_other_processors_are_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text("flags : avx_vnni\n")

    assert int8_instructions(tmp_path / "cpuinfo") is None


def test_a_system_without_cpuinfo_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert int8_instructions(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("held", "cuda", "flag", "expected", "reason"),
    [
        (ALL, False, "avx_vnni", "int8", "avx_vnni"),
        (ALL, False, None, "float32", "neither VNNI nor AMX"),
        (ALL, True, "avx_vnni", "float16", "CUDA"),
        (("float32", "int8"), True, "avx_vnni", "float32", "no float16"),
        (("float32",), False, "avx_vnni", "float32", "no int8"),
        (("int8",), False, None, "int8", "neither"),
    ],
)
def test_the_choice_suits_the_machine_and_the_artifact(
    held: tuple[Precision, ...], cuda: bool, flag: str | None, expected: str, reason: str
) -> None:
    choice = choose_precision(held, cuda=cuda, int8_instructions=flag)

    assert choice.precision == expected
    assert reason in choice.reason
