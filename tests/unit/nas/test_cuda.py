"""On a GPU everything is what it is on the CPU, repeats itself, and stays within its memory."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor
from torchvision.models import resnet18

from core.nas import latency, methods, multi_dataset, warm_start
from core.nas.cost_model import Shape
from core.nas.derive import derive
from core.nas.evaluate import evaluate
from core.nas.export import onnx_bytes, parity
from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.memory import fit_batch
from core.nas.multi_dataset import MultiDatasetConfig, MultiDatasetState, Part
from core.nas.network import Network, inherit, parameter_count
from core.nas.normalisation import reestimate
from core.nas.pruning.backbone import Backbone
from core.nas.pruning.channels import ChannelComponents
from core.nas.pruning.components import mask_to_dict
from core.nas.pruning.subset import search as search_subset
from core.nas.pruning.subset_config import SubsetConfig
from core.nas.retrain import RetrainState, retrain
from core.nas.search import SearchConfig, SearchState, run
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.ot import embedders
from tests.unit.nas.plain_darts import pack
from tests.unit.nas.test_retrain import EVERYTHING
from tests.unit.nas.test_supernet import CASES, plain_network

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
Halves = tuple[LabelledImages, LabelledImages]
STRICT = SearchConfig(
    epochs=3, batch_size=40, learning_rate=0.1, alpha_learning_rate=0.01, deterministic=True
)


@pytest.fixture(autouse=True)
def _repeatable_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def there(halves: Halves) -> Halves:
    """The halves in the GPU's memory."""
    train, valid = halves
    return train.to("cuda"), valid.to("cuda")


def fresh(space: Space, method: str = "darts") -> SearchState:
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0)).to("cuda")
    return SearchState(supernet, methods.create(method, supernet))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name].cpu(), second[name].cpu()) for name in first
    )


@pytest.mark.parametrize("convolutions", ["dense", "depthwise", "auto"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("space", "batch", "size"), CASES)
def test_a_supernet_is_the_same_function(
    space: Space, batch: int, size: int, training: bool, convolutions: str
) -> None:
    here = pack(plain_network(space).train(training), convolutions=convolutions)
    there = copy.deepcopy(here).to("cuda")
    generator = torch.Generator().manual_seed(1)
    shape = batch, space.input_channels, size, size
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.arange(batch) % 6
    expected, got = here(images), there(images.to("cuda"))
    assert (expected - got.cpu()).abs().max() <= 1e-10 * max(1.0, expected.abs().max().item())
    F.cross_entropy(expected, labels).backward()
    F.cross_entropy(got, labels.to("cuda")).backward()
    for (name, wanted), found in zip(here.named_parameters(), there.parameters(), strict=True):
        assert wanted.grad is not None
        assert found.grad is not None
        apart = (wanted.grad - found.grad.cpu()).abs().max()
        assert apart <= 1e-8 * wanted.grad.abs().max() + 1e-13, name
    for (name, wanted), found in zip(here.named_buffers(), there.buffers(), strict=True):
        assert torch.allclose(wanted, found.cpu(), rtol=1e-9, atol=1e-12), name


def test_a_strict_search_repeats_and_resumes_to_the_bit(space: Space, there: Halves) -> None:
    whole, saved = fresh(space), b""
    for record in run(whole, *there, STRICT):
        if record.epoch == 1:
            saved = save({name: value.cpu() for name, value in whole.tensors().items()})
    assert record.train_loss < math.log(10)
    again, resumed = fresh(space), fresh(space)
    list(run(again, *there, STRICT))
    resumed.load(load(saved))
    list(run(resumed, *there, STRICT))
    assert same(whole.tensors(), again.tensors())
    assert same(whole.tensors(), resumed.tensors())
    assert derive(whole.supernet) == derive(resumed.supernet)


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_every_method_searches(name: str, there: Halves) -> None:
    partial = 2 if name == "pc-darts" else 1
    space = Space(channels=4, layers=3, nodes=2, input_channels=1, partial=partial)
    state = fresh(space, name)
    before = {key: value.clone() for key, value in state.tensors().items()}
    record = list(run(state, *there, replace(STRICT, epochs=2, deterministic=False)))[-1]
    assert math.isfinite(record.train_loss)
    moved = {key for key, value in state.tensors().items() if not torch.equal(value, before[key])}
    assert any("alphas_normal" in key for key in moved)
    assert {value.device.type for value in state.supernet.parameters()} == {"cuda"}


def test_bf16_learns_as_fp32_does(there: Halves) -> None:
    space = Space(channels=8, layers=3, nodes=2, input_channels=1)
    losses = {}
    for precision in ("fp32", "bf16"):
        config = replace(STRICT, epochs=4, deterministic=False, precision=precision)
        losses[precision] = list(run(fresh(space), *there, config))[-1].train_loss
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.2)


def test_a_start_from_a_supernet_keeps_what_it_knows(space: Space, there: Halves) -> None:
    state = fresh(space)
    known = list(run(state, *there, STRICT))[-1].valid_accuracy
    source = warm_start.Source(
        space, {name: value.cpu() for name, value in state.supernet.state_dict().items()}
    )
    generator = torch.Generator().manual_seed(1)
    begun = warm_start.begin(
        source, 10, *there, head="closed_form", generator=generator, batch_size=40
    )
    assert next(begun.parameters()).is_cuda
    assert evaluate(begun, there[1], 60).accuracy > known - 0.2


def test_the_derived_network_retrains_resumes_and_is_exported(
    space: Space, genotype: Genotype, there: Halves
) -> None:
    teacher = fresh(space).supernet
    reestimate(teacher, there[0].batches(60))

    def begun() -> RetrainState[Network]:
        network = Network(space, genotype, 10, torch.Generator().manual_seed(0)).to("cuda")
        return RetrainState(network, EVERYTHING, side=8)

    whole, saved = begun(), b""
    for record in retrain(whole, *there, EVERYTHING, teacher=teacher):
        if record.epoch == 2:
            saved = save({name: value.cpu() for name, value in whole.tensors().items()})
    resumed = begun()
    resumed.load(load(saved))
    list(retrain(resumed, *there, EVERYTHING, teacher=teacher))
    assert same(whole.tensors(), resumed.tensors())
    network = whole.model.eval()
    exported = onnx_bytes(network, there[0].mean, there[0].std, 8)
    assert parity(exported, network, there[1]) < 1e-2  # cuDNN may round products to tf32
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert parity(exported, network, there[1]) < 1e-4


def test_inherited_weights_are_the_supernets(space: Space, genotype: Genotype) -> None:
    supernet = fresh(space).supernet
    images = torch.rand(8, 1, 8, 8)
    there = inherit(supernet, genotype)
    here = inherit(copy.deepcopy(supernet).to("cpu"), genotype)
    assert next(there.parameters()).is_cuda
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert torch.allclose(there(images.to("cuda")).cpu(), here(images), atol=1e-4)


def test_a_batch_is_as_large_as_the_memory_that_is_left() -> None:
    space = Space(channels=16, layers=5)
    model = Supernet(space, 10, torch.Generator().manual_seed(0)).to("cuda")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2 * 2**30 / total)
    try:
        found = fit_batch(model, (3, 32, 32), limit=4096)
        with pytest.raises(ValueError, match="batch_size"):
            fit_batch(model, (3, 4096, 4096), limit=64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 2 <= found < 4096
    assert found & (found - 1) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.cuda.reset_peak_memory_stats()
    images = torch.zeros(found, 3, 32, 32, device="cuda")
    model(images).sum().backward()
    assert torch.cuda.max_memory_allocated() < 2 * 2**30


@pytest.mark.parametrize("batch_size", [32, 128])
def test_the_memory_of_a_step_is_about_what_was_estimated(batch_size: int) -> None:
    space = Space(channels=16, layers=5)
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (512, 3, 32, 32), generator=drawn, dtype=torch.uint8)
    images = LabelledImages.measured(pixels, torch.arange(512) % 10, 10).to("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    supernet = Supernet(space, 10, torch.Generator().manual_seed(0)).to("cuda")
    config = SearchConfig(epochs=1, batch_size=batch_size)
    list(run(SearchState(supernet), *images.halves(0), config))
    shape = Shape(space, 32, 10, images=512, batch_size=batch_size)
    assert 0.5 < torch.cuda.max_memory_allocated() / shape.tensors() < 2.0


def test_latencies_are_those_of_this_device(space: Space) -> None:
    table = latency.latency_costs(space, 8, 10, device="cuda", runs=3)
    assert table.base >= 0
    convolution, skip = (space.operations.index(n) for n in ("sep_conv_5x5", "skip_connect"))
    assert all(row[convolution] > row[skip] >= 0 for row in table.edges["normal"])
    assert torch.cuda.get_device_name() in latency.conditions(space, 8, device="cuda")


def test_parts_of_a_known_network_are_found_and_cut_out(there: Halves) -> None:
    train, valid = (each.take(torch.arange(100)).with_channels(3) for each in there)
    model = Backbone(resnet18(), 10, torch.Generator().manual_seed(0)).to("cuda")
    components = ChannelComponents(model, torch.zeros(1, 3, 32, 32, device="cuda"), blocks=True)
    config = SubsetConfig(epochs=2, batch_size=50, target=0.5)
    mask = search_subset(components, train, valid, config).mask
    left = components.pruned(mask)
    share = parameter_count(left) / parameter_count(components.model)
    assert share == pytest.approx(float(components.cost(mask)), abs=1e-6)
    assert 0.45 < share <= 0.5
    assert left(torch.zeros(2, 3, 32, 32, device="cuda")).is_cuda
    assert mask_to_dict(mask, components.sizes)


def test_one_supernet_learns_several_datasets(there: Halves) -> None:
    space = Space(channels=2, layers=3, nodes=2, input_channels=1)
    supernet = Supernet(space, 1, torch.Generator().manual_seed(0)).to("cuda")
    state = MultiDatasetState(supernet, [10, 10], seed=0)
    config = MultiDatasetConfig(
        epochs=1, steps=4, batch_size=16, paths=1, alpha_every=2, statistics_images=32,
        measured_images=32,
    )  # fmt: skip
    parts = [Part(*each.split(0.75, 0)) for each in there]
    (record,) = multi_dataset.run(state, parts, config)
    assert math.isfinite(record.train_loss)
    multi_dataset.solve_heads(state, parts, config)
    assert next(state.supernet.parameters()).is_cuda


def test_features_are_those_of_the_cpu(digits: LabelledImages) -> None:
    images = digits.images[:64]
    here, there = (embedders.create(device=device).embed(images) for device in ("cpu", "cuda"))
    assert torch.allclose(here.cpu(), there.cpu(), atol=1e-3 * float(here.abs().max()))
