"""Programs: honest ones train as their modules do; unfit ones are refused with the way out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from fedspan.domain.spec import ModelSpec, TrainingSpec
from fedspan.errors import InvalidModel
from fedspan.learning.datasets import Split
from fedspan.learning.initial import initial_tensors
from fedspan.learning.modules import build, dump_tensors
from fedspan.learning.packing import Layout
from fedspan.learning.programs import check_program, inspect_program, load_program
from fedspan.learning.training import evaluate, train
from tests.learning import archives


@pytest.mark.parametrize("mode", [True, False])
def test_a_program_is_checked_loaded_and_inspected(tmp_path, mode):
    path = archives.export(archives.Net().train(mode), tmp_path / "net.pt2", 1, 6, 6)

    check_program(path)
    module = inspect_program(path, (1, 6, 6), 3)

    assert sum(one.requires_grad for one in module.parameters()) == 6
    assert "norm.num_batches_tracked" in module.state_dict()


@pytest.mark.parametrize("mode", [True, False])
def test_a_program_gives_what_its_module_gives(tmp_path, mode):
    net = archives.Net().train(mode)
    path = archives.export(net, tmp_path / "net.pt2", 1, 6, 6)
    x = torch.randn(5, 1, 6, 6)

    program = load_program(path)

    torch.testing.assert_close(program(x), net.eval()(x))
    torch.manual_seed(3)
    given = program.train()(x)
    torch.manual_seed(3)
    torch.testing.assert_close(given, net.train()(x))
    after = dict(program.state_dict())
    if not mode:  # batch norm exported in use does not count its batches
        after["norm.num_batches_tracked"] += 1
    torch.testing.assert_close(after, dict(net.state_dict()))


def test_a_program_trains_as_its_module_does(tmp_path):
    module = archives.tabular()
    path = archives.export(module, tmp_path / "net.pt2", 4)
    random = np.random.default_rng(1)
    y = np.arange(30, dtype=np.int64) % 2
    x = (random.normal(size=(30, 4)) + y[:, None]).astype(np.float32)
    split = Split(x, y, x[:4], y[:4])
    program = build(ModelSpec(file="net.pt2"), (4,), 2, path)

    results = [train(one, split, TrainingSpec(), 5) for one in (module, program)]

    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-5)
    for name, one in dump_tensors(module).items():
        np.testing.assert_allclose(dump_tensors(program)[name], one, rtol=1e-4, atol=1e-6)
    assert evaluate(program, x, y, 2).confusion == evaluate(module, x, y, 2).confusion


def test_evaluating_a_program_changes_nothing(honest):
    program = load_program(honest)
    before = {name: one.copy() for name, one in dump_tensors(program).items()}

    evaluate(program, np.ones((3, 4), np.float32), np.zeros(3, np.int64), 2)

    after = dump_tensors(program)
    assert all(np.array_equal(after[name], one) for name, one in before.items())


def test_a_program_starts_from_its_own_weights(honest):
    tensors = initial_tensors(ModelSpec(file="honest.pt2"), (4,), 2, seed=7, file=honest)

    wanted = torch.export.load(honest).state_dict
    assert set(tensors) == set(wanted)
    for name, one in wanted.items():
        np.testing.assert_array_equal(tensors[name], one.detach().numpy())
    assert Layout.of(tensors).size == sum(one.size for one in tensors.values())


def test_checking_needs_no_torch(honest):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "from pathlib import Path\n"
        "from fedspan.learning.programs import check_program\n"
        "check_program(Path(sys.argv[1]))"
    )

    subprocess.run([sys.executable, "-c", code, str(honest)], check=True)


def test_weights_that_are_shared_stay_shared(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(4, 4)
            self.two = torch.nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(torch.relu(self.one(x)))

    path = archives.export(Tied(), tmp_path / "tied.pt2", 4)

    module = inspect_program(path, (4,), 4)

    state = module.state_dict()
    assert state["one.weight"].data_ptr() == state["two.weight"].data_ptr()


class Reshaping(torch.nn.Module):
    """Its batch is whatever the example had."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.one(x).reshape(3, 2)


class Frozen(torch.nn.Module):
    def forward(self, x):
        return x[:, :2] * 2


@pytest.mark.parametrize(
    ("module", "dynamic", "says"),
    [
        (Reshaping, False, "refuses 2 rows of shape (4,)"),
        (archives.tabular, True, "gives (3, 2) for 3 rows, want (3, 5)"),
        (Frozen, True, "has no parameters to train"),
    ],
)
def test_a_program_that_does_not_fit_is_refused_with_the_way_to_export_it(
    tmp_path, module, dynamic, says
):
    path = archives.export(module(), tmp_path / "m.pt2", 4, dynamic=dynamic)
    classes = 5 if module is archives.tabular else 2

    with pytest.raises(InvalidModel) as found:
        inspect_program(path, (4,), classes)

    assert says in str(found.value)
    assert "torch.export.Dim" in str(found.value) or module is Frozen


def test_a_program_for_other_features_is_refused(honest):
    with pytest.raises(InvalidModel, match=r"honest.pt2: refuses 3 rows of shape \(7,\)"):
        inspect_program(honest, (7,), 2)


def test_a_program_that_gives_no_tensor_is_refused(tmp_path):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.one(x), x

    path = archives.export(Two(), tmp_path / "m.pt2", 4)

    with pytest.raises(InvalidModel, match="gives tuple for 3 rows"):
        inspect_program(path, (4,), 2)


@pytest.mark.filterwarnings("ignore:The tensor attributes self.read:UserWarning")
def test_attention_and_recurrence_are_on_the_list(tmp_path):
    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.read = torch.nn.GRU(8, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.read(self.encode(x))[0][:, -1])

    path = archives.export(Attending().train(), tmp_path / "m.pt2", 5, 8)

    assert inspect_program(path, (5, 8), 2)
