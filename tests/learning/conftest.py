"""What the tests of learning share."""

from __future__ import annotations

import pytest
import torch

from tests.learning import archives


@pytest.fixture(autouse=True)
def one_thread():
    """Models as small as these spend their time waiting for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    """The file of a small program as torch.export.save writes it."""
    return archives.export(archives.tabular(), tmp_path_factory.mktemp("p") / "honest.pt2", 4)
