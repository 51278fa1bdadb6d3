"""What the stand-in fuses on a CPU answers as the module that was saved."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from completelook.server.pytorch_backend.fusion import SIZES, fuse, fused_or_as_saved
from torch import Tensor, nn
from torch.nn import functional

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


class AddsNumber(Residual):
    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.shortcut(images) + 1) + 2


class OneAnswer(Residual):
    def forward(self, images: Tensor) -> Tensor:
        return self.shortcut(images).mean(dim=0, keepdim=True)


class Counting(nn.Module):
    """Changes whenever it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(images) + self.calls


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


def steps_of_the_last_run() -> Counter[str]:
    """What a module that was just run is made of, by kind of step."""
    steps: Counter[str] = Counter()

    def count(nodes) -> None:
        for node in nodes:
            steps[node.kind()] += 1
            # Beside what is fused lies what would run for tensors of other sizes.
            for block in list(node.blocks())[:1]:
                count(block.nodes())

    count(torch._C._last_executed_optimized_graph().nodes())
    return steps


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 3, 4, 9])
@pytest.mark.parametrize("kind", [Network, Lite])
def test_a_fused_network_answers_as_it_stands(kind, batch):
    module = scripted(kind())
    fused = fuse(module, [pictures(5)], [1])
    for answer, expected in zip(fused(pictures(batch)), module(pictures(batch)), strict=True):
        torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@BF16
@torch.inference_mode()
def test_a_fused_network_in_bf16_is_as_near_to_fp32_as_it_stands():
    exact = scripted(Network())(pictures(4))
    module = scripted(Network(), torch.bfloat16)
    images = pictures(4, kind=torch.bfloat16)
    fused = fuse(module, [images], [1])
    for answer, plain, wanted in zip(fused(images), module(images), exact, strict=True):
        assert answer.dtype == torch.bfloat16
        assert (answer - wanted).abs().max() <= 1.5 * (plain - wanted).abs().max()


@torch.inference_mode()
@pytest.mark.parametrize("kind", [Network, Lite])
def test_nothing_is_left_of_a_network_but_fused_steps(kind):
    fused = fuse(scripted(kind()), [pictures(5)], [1])
    fused(pictures(SIZES[0]))
    steps = steps_of_the_last_run()
    assert steps["prim::oneDNNFusionGroup"] >= 4
    assert not [kind for kind in steps if "conv" in kind or kind == "aten::hardtanh"]


@torch.inference_mode()
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(nn.Sequential(nn.Linear(3, 3)), id="no convolution"),
        pytest.param(nn.Conv2d(3, 3, 3).double(), id="a type without fast code"),
    ],
)
def test_what_has_nothing_to_fuse_is_left_alone(module):
    kind = next(module.parameters()).dtype
    assert fuse(torch.jit.script(module.eval()), [pictures(1, kind=kind)], [1]) is None


def test_a_module_saved_for_training_is_left_alone():
    assert fuse(torch.jit.script(Network().train()), [pictures(1)], [1]) is None


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    "kind",
    [
        AddedIsConvolved,
        AddedIsNeeded,
        AddedIsReturned,
        AddedIsSmaller,
        AddedIsViewed,
        AddedTwice,
        AddsNumber,
        Broadcast,
        TwoBlocks,
    ],
)
def test_a_sum_is_answered_as_it_stands_where(kind, batch):
    module = scripted(kind())
    answer = fused_or_as_saved(module, [pictures(5)], [1], print)(pictures(batch))
    torch.testing.assert_close(answer, module(pictures(batch)), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        pytest.param(AddedIsOnePicture, "a fused one answers otherwise", id="other pictures"),
        pytest.param(Repeated, "bad optional access", id="the size of its batch"),
        pytest.param(OneAnswer, "a fused one answers otherwise", id="its whole batch"),
        pytest.param(Counting, "it changes while it runs", id="what it was asked before"),
    ],
)
def test_a_module_runs_as_it_was_saved_whose_answer_depends_on(kind, reason):
    module, warned = scripted(kind()), []
    assert fused_or_as_saved(module, [pictures(5)], [1], warned.append) is module
    assert warned == [f"runs as it was saved: RuntimeError: {reason}"]


def fail(*_):
    raise TypeError("takes other arguments\nnow")


@torch.inference_mode()
@pytest.mark.parametrize("name", ["freeze", "enable_onednn_fusion"])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "another"])
def test_whatever_fails_in_torch_leaves_the_module_as_saved(monkeypatch, name, gone):
    if gone:
        monkeypatch.delattr(torch.jit, name)
    else:
        monkeypatch.setattr(torch.jit, name, fail)
    module, warned = scripted(TwoBlocks()), []
    assert fused_or_as_saved(module, [pictures(2)], [1], warned.append) is module
    kind = "AttributeError" if gone else "TypeError: now"
    assert warned[0].startswith(f"runs as it was saved: {kind}")


@torch.inference_mode()
def test_what_can_be_fused_is_without_a_warning_and_fusing_ends_with_it():
    module, warned = scripted(TwoBlocks()), []
    fused = fused_or_as_saved(module, [pictures(2)], [1], warned.append)
    assert fused is not module
    assert warned == []
    # Of weights that are no constants, torch's fusion makes wrong answers.
    assert not torch.jit.onednn_fusion_enabled()


@torch.inference_mode()
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_a_batch_runs_on_what_was_compiled_for_its_threads_or_fewer(threads):
    before = torch.get_num_threads()
    try:
        fused = fuse(scripted(TwoBlocks()), [pictures(2)], [3, 2])
        assert fused
        ran: list[tuple[int, int]] = []
        compiled: dict[Any, Any] = {
            key: lambda *_, key=key: ran.append(key) for key in fused.compiled
        }
        torch.set_num_threads(threads)
        replace(fused, compiled=compiled)(pictures(1))
    finally:
        torch.set_num_threads(before)
    assert ran == [(1, min(max(threads, 2), 3))]
