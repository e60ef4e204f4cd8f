"""Sources at another width, depth, stem: what is preserved is preserved, the rest fits."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.nas.adaptation import adapt
from core.nas.space import Space
from core.nas.supernet import Supernet
from core.nas.warm_start import Source

_CLASSES = 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(channels: int, count: int = 3) -> Tensor:
    return torch.randn(count, channels, 8, 8, generator=seeded(5), dtype=torch.float64)


def built(space: Space) -> Supernet:
    """Float64, arbitrary mixtures, running statistics of real passes, a learned stem norm."""
    supernet = Supernet(space, _CLASSES, seeded(1)).double()
    with torch.no_grad():
        for alphas in supernet.alpha_parameters():
            alphas.normal_(generator=seeded(2))
        supernet.stem_norm.weight.uniform_(0.5, 1.5, generator=seeded(3))
        supernet.stem_norm.bias.normal_(generator=seeded(4))
        supernet(images(space.input_channels, 6))
    return supernet


def source_of(supernet: Supernet) -> Source:
    return Source(supernet.space, copy.deepcopy(supernet.state_dict()))


def loaded(source: Source) -> Supernet:
    """Of the source's tensors all; the names and shapes must be those of its space."""
    supernet = Supernet(source.space, _CLASSES, seeded(9)).double()
    supernet.load_state_dict(source.state)
    return supernet


def copies(space: Space, channels: int) -> Tensor:
    """Index into the source's features of every feature at a larger width."""
    old, new = 2 * space.channels, 2 * channels  # halves of the last cell
    nodes = space.feature_channels // (2 * old)
    within = torch.cat([torch.arange(new) % old, old + torch.arange(new) % old])
    return torch.cat([node * 2 * old + within for node in range(nodes)])


SPACES = [
    pytest.param(Space(channels=2, layers=3, nodes=2, stem_multiplier=2), id="darts"),
    pytest.param(Space(channels=4, layers=5, nodes=3, stem_stride=4, cells="s3"), id="s3-deep"),
    pytest.param(Space(channels=4, layers=5, nodes=2, cells="nas-bench-201"), id="nb201"),
]
# Every kind of tensor but pools, with two normal cells before the first reduction.
SMALL = Space(channels=2, layers=6, nodes=2, stem_multiplier=1, input_channels=1, cells="s3")


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=1e-10)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("more", [2, 4])
@torch.no_grad()
def test_wider_features_are_the_sources_duplicated(space: Space, more: int) -> None:
    narrow, batch = built(space), images(3)
    channels = space.channels + more
    wide = loaded(adapt(source_of(narrow), replace(space, channels=channels), generator=seeded()))
    for training in (False, True):  # evaluation first: training moves the statistics
        narrow.train(training)
        wide.train(training)
        same(wide.features(batch), narrow.features(batch)[:, copies(space, channels)])
        same(wide(batch), narrow(batch))  # the head took its share from every copy


@torch.no_grad()
def test_a_wider_net_is_whole_again_for_any_mixture() -> None:
    narrow = built(SMALL).eval()
    wide = loaded(adapt(source_of(narrow), replace(SMALL, channels=6), generator=seeded())).eval()
    for kind, alphas in narrow.alphas().items():
        alphas.normal_(0, 3, generator=seeded(8))
        wide.alphas()[kind].copy_(alphas)
    same(wide(images(1)), narrow(images(1)))


@pytest.mark.parametrize("space", SPACES)
@torch.no_grad()
def test_narrowing_a_widened_net_gives_the_source_back(space: Space) -> None:
    source = source_of(built(space))
    wide = adapt(source, replace(space, channels=3 * space.channels), generator=seeded())
    between = adapt(wide, replace(space, channels=2 * space.channels), generator=seeded())
    again = adapt(between, space, generator=seeded())
    for name, value in source.state.items():
        same(again.state[name], value)


@pytest.mark.parametrize(
    ("unread", "convolution", "dim"), [(0, ".pointwise", 3), (1, ".depthwise", 2)]
)
@torch.no_grad()
def test_the_channels_that_nothing_consumes_are_dropped(
    unread: int, convolution: str, dim: int
) -> None:
    """Of each half of a cell of 4 channels one is read by nobody: the function stays."""
    space = replace(SMALL, channels=4, layers=3)
    supernet = built(space)
    for name, tensor in supernet.state_dict().items():
        if tensor.ndim == 2 and not name.startswith("alphas_"):
            _forget(tensor, unread, dim=1)
        elif name.endswith((".preprocess.0.weight", ".reduce.weight")):
            _forget(tensor, unread, dim=3)
        elif name.endswith(convolution):
            _forget(tensor, unread, dim=dim)
        elif name.endswith(".pointwise"):
            tensor[..., unread::2] *= 100  # however large: its kernels are zero
    supernet(images(1, 6))  # statistics of what is left
    supernet.eval()
    slim = loaded(
        adapt(source_of(supernet), replace(space, channels=2), generator=seeded())
    ).eval()
    same(slim(images(1)), supernet(images(1)))


def _forget(tensor: Tensor, unread: int, *, dim: int) -> None:
    # Channels lie in runs of 4, 8 or 16 with halves of 2, 4, 8: every second is forgotten.
    tensor.index_fill_(dim, torch.arange(unread, tensor.shape[dim], 2), 0.0)


@torch.no_grad()
def test_noise_parts_the_copies_a_little() -> None:
    narrow = built(SMALL).train()
    source, wider = source_of(narrow), replace(SMALL, channels=4)
    noisy = adapt(source, wider, generator=seeded(), noise=1e-3)
    wide = loaded(noisy).train()
    batch = images(1)
    expected = narrow.features(batch)[:, copies(SMALL, 4)]
    off = (wide.features(batch) - expected).norm() / expected.norm()
    assert 1e-6 < off < 0.2
    twice = adapt(source, wider, generator=seeded(), noise=1e-3)
    assert all(torch.equal(noisy.state[name], twice.state[name]) for name in noisy.state)
    for name in source.state:
        if name.startswith("alphas_"):
            assert torch.equal(noisy.state[name], source.state[name])


@torch.no_grad()
def test_deeper_at_the_end_computes_what_the_source_did_up_to_the_new_cell() -> None:
    """Six layers are 2 + R + 1 + R + 1 cells, seven 2 + R + 1 + R + 2."""
    shallow = built(SMALL).eval()
    deep = loaded(adapt(source_of(shallow), replace(SMALL, layers=7), generator=seeded())).eval()
    seen: list[Tensor] = []
    deep.cells[5].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    deep(images(1))
    same(seen[0], shallow.trunk(images(1)))
    back = loaded(adapt(source_of(deep), SMALL, generator=seeded())).eval()
    same(back(images(1)), shallow(images(1)))


def test_a_new_cell_is_the_nearest_of_its_stage_and_reads_what_it_read() -> None:
    space = replace(SMALL, stem_multiplier=2)  # a stem as wide as a cell, and still no cell
    source = source_of(built(space))
    deeper = adapt(source, replace(space, layers=9), generator=seeded())  # 3 + R + 2 + R + 2
    loaded(deeper)
    pairs = {0: 0, 1: 1, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 5}
    for target, cell in pairs.items():
        for name, value in source.state.items():
            if name.startswith(f"cells.{cell}.states."):
                moved = name.replace(f"cells.{cell}.", f"cells.{target}.")
                assert torch.equal(deeper.state[moved], value), moved
    # Cell 1 reads the stem and cell 0; its copy reads cell 0 and cell 1.
    newer = source.state["cells.1.preprocess.1.weight"]
    for name in ("cells.1.preprocess.1", "cells.2.preprocess.0", "cells.2.preprocess.1"):
        assert torch.equal(deeper.state[f"{name}.weight"], newer)
    for name in ("alphas_normal", "alphas_reduction", "stem", "classifier.weight"):
        assert torch.equal(deeper.state[name], source.state[name])
    assert deeper.state["cells.4.states.0.convolutions.sep_conv_3x3.pointwise"].data_ptr() != (
        deeper.state["cells.5.states.0.convolutions.sep_conv_3x3.pointwise"].data_ptr()
    )


@pytest.mark.parametrize("cells", ["s3", "nas-bench-201"])
@pytest.mark.parametrize(("before", "after"), [(3, 5), (5, 3), (4, 8), (8, 4), (6, 3)])
def test_any_depth_becomes_any_other_and_the_same_each_time(
    cells: str, before: int, after: int
) -> None:
    space = Space(channels=2, layers=before, nodes=2, stem_multiplier=1, cells=cells)
    source = source_of(built(space))
    first, second = (
        adapt(source, replace(space, layers=after), generator=seeded(6)) for _ in range(2)
    )
    loaded(first)
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert {value.dtype for value in first.state.values()} == {torch.float64, torch.int64}
    assert torch.equal(first.state["alphas_normal"], source.state["alphas_normal"])


@torch.no_grad()
def test_a_stage_without_normal_cells_gets_fresh_ones() -> None:
    space = replace(SMALL, layers=3)  # 1 + R + R
    source = source_of(built(space))
    first, other = (
        adapt(source, replace(space, layers=5), generator=seeded(seed)).state for seed in (0, 1)
    )
    for name in first:
        drawn = name.startswith(("cells.2.", "cells.4.")) and first[name].ndim > 1
        # The second reduction now reads a cell of its own width, not one twice as large.
        drawn = drawn and not name.startswith("cells.3.")
        assert torch.equal(first[name], other[name]) != drawn, name


@torch.no_grad()
def test_grey_and_colour_stems_agree_on_grey_images() -> None:
    colour = built(replace(SMALL, input_channels=3)).eval()
    grey = loaded(adapt(source_of(colour), SMALL, generator=seeded())).eval()
    batch = images(1)
    same(grey(batch), colour(batch.repeat(1, 3, 1, 1)))
    again = loaded(adapt(source_of(grey), colour.space, generator=seeded())).eval()
    same(again(batch.repeat(1, 3, 1, 1)), grey(batch))


def test_a_stem_keeps_its_first_reductions_and_draws_the_others() -> None:
    source = source_of(built(replace(SMALL, stem_stride=4)))
    largest, other = (
        adapt(source, replace(SMALL, stem_stride=8), generator=seeded(seed)) for seed in (0, 1)
    )
    loaded(largest)
    assert all(torch.equal(largest.state[name], value) for name, value in source.state.items())
    fresh = "stem_reductions.1.weight"
    assert not torch.equal(largest.state[fresh], other.state[fresh])
    back = adapt(largest, source.space, generator=seeded())
    assert back.state.keys() == source.state.keys()
    without = adapt(source, replace(SMALL, stem_stride=2), generator=seeded())
    plain = adapt(without, SMALL, generator=seeded())
    assert without.state.keys() == plain.state.keys()
    assert all(torch.equal(without.state[name], value) for name, value in plain.state.items())


def test_everything_at_once_fits_and_the_source_is_left_alone() -> None:
    source = source_of(built(Space(channels=4, layers=4, nodes=2, stem_multiplier=2)))
    before = {name: value.clone() for name, value in source.state.items()}
    space = Space(
        channels=2, layers=5, nodes=2, stem_multiplier=2, input_channels=1, stem_stride=4
    )
    adapted = loaded(adapt(source, space, generator=seeded()))
    assert adapted(images(1)).isfinite().all()
    assert all(torch.equal(before[name], value) for name, value in source.state.items())
    assert adapt(source, source.space, generator=seeded()) is source


def test_partial_channels_keep_their_width_but_change_depth() -> None:
    space = Space(channels=4, layers=4, nodes=2, stem_multiplier=1, cells="s3", partial=2)
    source = source_of(built(space))
    loaded(adapt(source, replace(space, layers=5, input_channels=1), generator=seeded()))
    with pytest.raises(ValueError, match=r"space\.channels: 8 .* partial"):
        adapt(source, replace(space, channels=8), generator=seeded())


@pytest.mark.parametrize(
    ("field", "value"), [("cells", "s2"), ("nodes", 3), ("stem_multiplier", 2), ("partial", 2)]
)
def test_what_cannot_be_adapted_is_refused_by_name(field: str, value: object) -> None:
    space = replace(SMALL, channels=4, layers=3)
    with pytest.raises(ValueError, match=rf"space\.{field}: "):
        adapt(source_of(built(space)), replace(space, **{field: value}), generator=seeded())


def test_colours_become_no_other_number_of_channels_than_one() -> None:
    space = Space(channels=2, layers=3, nodes=2, cells="s3")
    with pytest.raises(ValueError, match=r"space\.input_channels: 3 cannot become 4"):
        adapt(source_of(built(space)), replace(space, input_channels=4), generator=seeded())


@pytest.mark.parametrize("noise", [-1.0, float("nan"), float("inf")])
def test_bad_noise_is_refused(noise: float) -> None:
    source = Source(SMALL, {})
    with pytest.raises(ValueError, match="noise"):
        adapt(source, replace(SMALL, channels=4), generator=seeded(), noise=noise)


def test_a_source_that_does_not_fit_its_space_is_refused_by_name() -> None:
    source = source_of(built(replace(SMALL, layers=3)))
    source.state["stem"] = source.state["stem"][:1]
    with pytest.raises(ValueError, match="tensor 'stem' is"):
        adapt(source, replace(source.space, channels=4), generator=seeded())
    source = source_of(built(replace(SMALL, layers=3)))
    source.state["classifier.weight"] = source.state["classifier.weight"][:, :5]
    with pytest.raises(ValueError, match=r"tensor 'classifier\.weight' reads 5"):
        adapt(source, replace(source.space, channels=4), generator=seeded())
