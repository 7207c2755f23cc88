"""The stage of the cross-cloud job leaves nothing behind, not even where it could not be set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.stage import staged


def test_a_stage_that_cannot_be_set_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "openstack").touch()  # where its folder is to be
    before = dict(os.environ)
    with pytest.raises(OSError), staged(tmp_path, lambda _: None):
        pass

    assert dict(os.environ) == before
