"""What the stand-in makes of convolutions on a CPU answers as the module that was saved."""

from collections.abc import Iterator

import pytest
import torch
from completelook.server.pytorch_backend.convolutions import (
    pack_convolutions,
    packed_or_as_saved,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

BF16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU is slow in BF16"
)


class Network(nn.Module):
    """Every way a ResNet uses a convolution, and one whose result is needed before the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
        self.shortcut = nn.Conv2d(16, 32, 1, stride=2)
        self.residual = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.plain = nn.Conv2d(32, 8, 1)
        self.shared = nn.Conv2d(32, 8, 3, dilation=2, padding=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        stem = torch.relu_(self.stem(images))
        grouped = torch.relu(self.grouped(stem))
        block = torch.relu(self.residual(grouped) + self.shortcut(stem))
        shared = self.shared(block)
        return self.plain(block), torch.relu(shared) - shared


class Lite(nn.Module):
    """What an EfficientNet-Lite has besides: ReLU6, depthwise kernels, sums without a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=2, padding=1)
        self.expand = nn.Conv2d(8, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 5, padding=2, groups=24)
        self.project = nn.Conv2d(24, 8, 1)
        self.relu6 = nn.ReLU6(inplace=True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        shortcut = self.relu6(self.stem(images))
        deep = self.relu6(self.depthwise(self.relu6(self.expand(shortcut))))
        bottleneck = self.project(deep) + shortcut
        return bottleneck, functional.hardtanh(self.expand(bottleneck), -1.0, 2.0)


class Residual(nn.Module):
    """The parts of a residual block; what is added is a convolution's result."""

    def __init__(self) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(3, 8, 1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def branch(self, images: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(images)))


class TwoBlocks(Residual):
    def forward(self, images: Tensor) -> Tensor:
        block = self.shortcut(images)
        block = torch.relu(self.branch(block) + block)
        return torch.relu(self.branch(block) + block)


class AddedTwice(Residual):
    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images)
        return torch.relu(torch.add(self.branch(added), added, alpha=2))


class AddedIsNeeded(Residual):
    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images)
        return torch.relu(self.branch(added) + added) - added


class AddedIsReturned(Residual):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        added = self.shortcut(images)
        return torch.relu(self.branch(added) + added), added


class AddedIsViewed(Residual):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        added = self.shortcut(images)
        view = added.flatten(2)
        return torch.relu(self.branch(added) + added), view


class AddedIsConvolved(Residual):
    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images)
        return torch.relu(self.first(added) + added)


class AddedIsOnePicture(Residual):
    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images[:1])
        return torch.relu(self.branch(self.shortcut(images)) + added)


class AddedIsSmaller(Residual):
    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images.mean(dim=[2, 3], keepdim=True))
        return torch.relu(self.branch(self.shortcut(images)) + added)


class Repeated(Residual):
    """Adds in a loop that runs once for two pictures, and never or more often for others."""

    def forward(self, images: Tensor) -> Tensor:
        added = self.shortcut(images)
        block = added
        for _ in range(int(images.shape[0]) // 2):
            block = torch.relu(self.branch(block) + added)
        return block


class Broadcast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.conv(images) + images.mean(dim=[2, 3], keepdim=True))


class Counting(nn.Module):
    """Changes whenever it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(images) + self.calls


class Operators(TorchDispatchMode):
    """The names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator, _types, args=(), kwargs=None):
        self.names.append(operator.name())
        return operator(*args, **(kwargs or {}))


def scripted(module: nn.Module, kind: torch.dtype = torch.float32) -> torch.jit.ScriptModule:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    module = module.to(kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return torch.jit.script(module.eval())


def pictures(batch: int, side: int = 32, kind: torch.dtype = torch.float32) -> Tensor:
    random = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, 3, side, side, generator=random)
    return images.to(kind, memory_format=torch.channels_last)


@torch.inference_mode()
@pytest.mark.parametrize(("batch", "side"), [(1, 32), (5, 32), (2, 48)])
@pytest.mark.parametrize("kind", [Network, Lite])
def test_a_packed_network_answers_as_it_stands(kind, batch, side):
    module = scripted(kind())
    packed = pack_convolutions(module, [pictures(1)])
    for answer, expected in zip(
        packed(pictures(batch, side)), module(pictures(batch, side)), strict=True
    ):
        torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@BF16
@torch.inference_mode()
def test_a_packed_network_in_bf16_is_as_near_to_fp32_as_it_stands():
    exact = scripted(Network())(pictures(4))
    module = scripted(Network(), torch.bfloat16)
    packed = pack_convolutions(module, [pictures(1, kind=torch.bfloat16)])
    for answer, plain, wanted in zip(
        packed(pictures(4, kind=torch.bfloat16)),
        module(pictures(4, kind=torch.bfloat16)),
        exact,
        strict=True,
    ):
        assert answer.dtype == torch.bfloat16
        assert (answer - wanted).abs().max() <= 1.5 * (plain - wanted).abs().max()


@torch.inference_mode()
def test_no_convolution_is_left_as_it_was_and_what_can_be_fused_is():
    packed = pack_convolutions(scripted(Network()), [pictures(1)])
    with Operators() as ran:
        packed(pictures(3))
    counts = {name: ran.names.count(name) for name in ran.names}
    assert sum(count for name, count in counts.items() if "_convolution_pointwise" in name) == 6
    assert not [name for name in counts if name in ("aten::convolution", "aten::add.Tensor")]
    # The one whose result is needed before it.
    assert sum(count for name, count in counts.items() if "relu" in name) == 1


@torch.inference_mode()
def test_nothing_is_left_of_a_lite_network_but_convolutions():
    packed = pack_convolutions(scripted(Lite()), [pictures(1)])
    with Operators() as ran:
        packed(pictures(3))
    assert sum("_convolution_pointwise" in name for name in ran.names) == 5
    left = ("aten::convolution", "aten::add", "aten::hardtanh", "aten::hardtanh_")
    assert not [name for name in ran.names if name.partition(".")[0] in left]


@torch.inference_mode()
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(nn.Sequential(nn.Linear(3, 3)), id="no convolution"),
        pytest.param(Counting(), id="changes while it runs"),
        pytest.param(nn.Conv2d(3, 3, 3).double(), id="a type without fast code"),
    ],
)
def test_what_cannot_be_packed_is_left_alone(module):
    kind = next(module.parameters()).dtype
    assert pack_convolutions(torch.jit.script(module.eval()), [pictures(1, kind=kind)]) is None


def test_a_module_saved_for_training_is_left_alone():
    assert pack_convolutions(torch.jit.script(Network().train()), [pictures(1)]) is None


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 3])
def test_an_addition_of_another_shape_is_answered_as_it_stands(batch):
    module = scripted(Broadcast())
    packed = pack_convolutions(module, [pictures(1)])
    torch.testing.assert_close(packed(pictures(batch)), module(pictures(batch)))


@torch.inference_mode()
def test_a_sum_that_onednn_does_not_know_is_refused():
    with pytest.raises(RuntimeError, match="the alpha value"):
        pack_convolutions(scripted(AddedTwice()), [pictures(2)])


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_convolution_in_a_loop_is_answered_as_it_stands(batch):
    module = scripted(Repeated())
    packed = pack_convolutions(module, [pictures(2)])
    torch.testing.assert_close(packed(pictures(batch)), module(pictures(batch)))


IN_PLACE = "mkldnn::_convolution_pointwise_.binary"


@torch.inference_mode()
def test_a_sum_takes_the_place_of_what_is_added():
    module = scripted(TwoBlocks())
    packed = pack_convolutions(module, [pictures(2)])
    with Operators() as ran:
        answer = packed(pictures(5))
    assert ran.names.count(IN_PLACE) == 2
    torch.testing.assert_close(answer, module(pictures(5)), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(
    "kind",
    [
        AddedIsNeeded,
        AddedIsReturned,
        AddedIsViewed,
        AddedIsConvolved,
        AddedIsOnePicture,
        AddedIsSmaller,
    ],
)
def test_a_sum_has_a_place_of_its_own_where(kind):
    module = scripted(kind())
    packed = pack_convolutions(module, [pictures(2)])
    with Operators() as ran:
        answer = packed(pictures(5))
    assert IN_PLACE not in ran.names
    torch.testing.assert_close(answer, module(pictures(5)), atol=1e-5, rtol=1e-5)


def fail(*_):
    raise TypeError("takes other arguments\nnow")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (torch._C, "_jit_pass_custom_pattern_based_rewrite_graph"),
        (torch._C, "_create_function_from_graph"),
        (torch.jit, "freeze"),
    ],
)
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "another"])
def test_whatever_fails_in_torch_leaves_the_module_as_saved(monkeypatch, owner, name, gone):
    if gone:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, fail)
    module, warned = scripted(TwoBlocks()), []
    assert packed_or_as_saved(module, [pictures(2)], warned.append) is module
    kind = "AttributeError" if gone else "TypeError: now"
    assert warned[0].startswith(f"keeps its convolutions as saved: {kind}")


@torch.inference_mode()
def test_what_can_be_packed_is_without_a_warning():
    module, warned = scripted(TwoBlocks()), []
    packed = packed_or_as_saved(module, [pictures(2)], warned.append)
    assert packed is not module
    torch.testing.assert_close(packed(pictures(2)), module(pictures(2)), atol=1e-5, rtol=1e-5)
    assert warned == []


@torch.inference_mode()
def test_a_number_is_added_to_packed_convolutions():
    class AddsNumber(Residual):
        def forward(self, images: Tensor) -> Tensor:
            return torch.relu(self.shortcut(images) + 1) + 2

    module = scripted(AddsNumber())
    packed = pack_convolutions(module, [pictures(2)])
    torch.testing.assert_close(packed(pictures(3)), module(pictures(3)), atol=1e-5, rtol=1e-5)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.usefixtures("two_threads")
def test_no_weight_changes_its_layout_while_a_batch_is_answered(batch, capfd):
    # On some processors oneDNN wants two layouts of these, for one picture and for several.
    module = scripted(nn.Sequential(nn.Conv2d(3, 512, 1), nn.Conv2d(512, 512, 3, padding=1)))
    packed = pack_convolutions(module, [pictures(2, side=7)])
    images = pictures(batch, side=7)
    packed(images)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        packed(images)
    said = capfd.readouterr().out
    assert said.count("exec,cpu,convolution") == 2
    assert "exec,cpu,reorder" not in said
