"""What `make cross-cloud` shows, without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cross_cloud import announce, console_of, shown

URI = f"s3://fedspan-models/models/{'m' * 120}/weights.safetensors"
RUN = {
    **dict.fromkeys(("cloud", "region", "machine_type", "purchase", "metadata"), "x"),
    "model": {"uri": URI, "sha256": "0" * 64},
    "participants": {"seoul": "openstack project seoul"},
    "credentials": [{"subject": "[someone]"}],
    "phases": {"training": 1.0},
    "seconds": 1.0,
    "rounds": 3,
    "cost_usd": 0.0,
    "left_over": [],
}


def test_an_address_is_whole_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    console = console_of()
    for one in shown({"runs": [RUN], "clouds_ready_s": 1.0, "seconds": 2.0}):
        console.print(one)
    said = capsys.readouterr().out

    assert URI in said
    assert "[someone]" in said


def test_what_takes_long_once_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSPAN_OPENSTACK_VENV", str(tmp_path))
    said: list[str] = []
    announce(said.append)
    (tmp_path / ".installed").touch()
    announce(said.append)

    assert said == [f"installing OpenStack's wheels, once, in {tmp_path}"]
