"""An export's other forms: ONNX and AOTInductor's packages, run by their own configurations."""

import os
import sys
from typing import Any

import onnxruntime
import pytest
import torch
from completelook import EmbeddedServerError
from completelook.clients.doctor import _tensors_of
from completelook.contract import BACKBONE, ENSEMBLES, SCENE_HEAD, STEPS, Tensor
from completelook.golden import GoldenRecord
from completelook.server.installation import find_installation
from completelook.server.repository import read_repository
from completelook_build.errors import ExportError
from completelook_build.export import FORMATS, export_model
from completelook_build.export.parity import trained_answer
from google.protobuf import text_format
from planted import small_model
from torch import nn
from torch._inductor import aoti_load_package, cpp_builder
from torch._inductor.exc import InvalidCxxCompiler
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

pytestmark = pytest.mark.slow

ONNX_TYPES = {"UINT8": "tensor(uint8)", "INT64": "tensor(int64)", "FP32": "tensor(float)"}


def config_of(repository, name):
    text = (repository / name / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, ModelConfig())


@pytest.fixture(scope="module")
def onnx(untrained, tmp_path_factory):
    repository = tmp_path_factory.mktemp("onnx")
    export_model(untrained, repository, form="onnx")
    return repository


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    repository = tmp_path_factory.mktemp("aoti")
    export_model(small_model(3), repository, form="aoti")
    return repository


def run_onnx(repository, config):
    session = onnxruntime.InferenceSession(repository / config.name / "1" / "model.onnx")

    def run(tensors):
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        names = [output.name for output in config.output]
        answers = session.run(names, arrays)
        return dict(zip(names, map(torch.from_numpy, answers), strict=True))

    return run


def run_package(repository, config):
    """By the places that Triton's torch_aoti platform reads out of the names."""
    load = aoti_load_package(str(repository / config.name / "1" / "model.pt2"))

    def run(tensors):
        assert list(tensors) == [f"INPUT__{place}" for place in range(len(tensors))]
        answers = load(*(tensor.contiguous() for tensor in tensors.values()))
        return {output.name: answers[int(output.name[8:])] for output in config.output}

    return run


def ask(repository, ensemble, images, make_run):
    """What an ensemble's steps answer, tensor by tensor as its configuration maps them."""
    pool = {"IMAGE": images}
    for step in config_of(repository, ensemble).ensemble_scheduling.step:
        config = config_of(repository, step.model_name)
        given = {each.name: pool[step.input_map[each.name]] for each in config.input}
        answer = make_run(repository, config)(given)
        pool |= {name: answer[key] for key, name in step.output_map.items()}
    return {each.name: pool[each.name] for each in config_of(repository, ensemble).output}


def images(batch_size):
    random = torch.Generator().manual_seed(batch_size)
    shape = (batch_size, 224, 224, 3)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)


@torch.inference_mode()
@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("form", ["onnx", "package"])
def test_its_ensembles_answer_as_the_trained_model_does(form, batch_size, untrained, request):
    repository = request.getfixturevalue(form)
    model = untrained if form == "onnx" else small_model(3)
    batch = images(batch_size)
    expected = trained_answer(model.backbone("fp32"), model.heads, model.heads_id, batch)
    for ensemble in ENSEMBLES:
        make_run = run_onnx if form == "onnx" else run_package
        answer = ask(repository, ensemble.name, batch, make_run)
        assert list(answer) == [tensor.name for tensor in ensemble.outputs]
        for name, value in answer.items():
            torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=0)


def test_the_onnx_files_are_what_the_configuration_tells_tritons_onnxruntime_backend(onnx):
    for model in STEPS:
        config = config_of(onnx, model.name)
        assert (config.backend, config.platform) == ("onnxruntime", "")
        assert config.max_batch_size == 32
        session = onnxruntime.InferenceSession(onnx / model.name / "1" / "model.onnx")
        for declared, found in (
            (config.input, session.get_inputs()),
            (config.output, session.get_outputs()),
        ):
            assert [each.name for each in declared] == [each.name for each in found]
            for told, has in zip(declared, found, strict=True):
                assert isinstance(has.shape[0], str)  # an open dimension, for the batch
                # Triton wants each size that the file has: no -1 will do.
                assert list(told.dims) == has.shape[1:]
                data_type = DataType.Name(told.data_type).removeprefix("TYPE_")
                assert has.type == ONNX_TYPES[data_type]
        assert all(warmup.batch_size in (1, 32) for warmup in config.model_warmup)


def test_a_package_is_configured_as_tritons_torch_aoti_platform_takes_it(package):
    for model in STEPS:
        config = config_of(package, model.name)
        assert (config.backend, config.platform) == ("pytorch", "torch_aoti")
        assert config.max_batch_size == 1
        assert not config.HasField("dynamic_batching")
        places = range(len(model.outputs))
        assert [each.name for each in config.output] == [f"OUTPUT__{place}" for place in places]


def test_every_form_has_the_same_model_id(onnx, exported):
    assert GoldenRecord.read(onnx).model_id == GoldenRecord.read(exported).model_id


def test_another_form_takes_the_place_of_the_earlier_one(tmp_path):
    export_model(small_model(3), tmp_path)
    export_model(small_model(3), tmp_path, form="onnx")
    assert not list(tmp_path.rglob("model.pt"))
    assert len(list(tmp_path.rglob("model.onnx"))) == 3
    assert len(read_repository(tmp_path)) == 6


@pytest.mark.parametrize("form", ["aoti", "onnx"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_a_form_would_round_otherwise_is_refused(tmp_path, form, precision):
    with pytest.raises(ExportError, match=f"{form} has no {precision}.*--format torchscript"):
        export_model(small_model(3), tmp_path, form=form, precision=precision)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_for_onnx_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"onnxscript.*completelook\[onnx\]"):
        export_model(small_model(3), tmp_path, form="onnx")


def test_a_missing_compiler_is_said_with_the_ways_out(tmp_path, monkeypatch):
    def none():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(ExportError, match=r"there is none: install g\+\+.*onnx"):
        export_model(small_model(3), tmp_path, form="aoti")


def test_an_onnx_file_of_other_names_or_sizes_is_refused(onnx):
    path = onnx / "backbone" / "1" / "model.onnx"
    for wrong in (SCENE_HEAD, BACKBONE):  # the contract's own leaves the sizes open
        with pytest.raises(ExportError, match=r"the ONNX file has .*, expected"):
            FORMATS["onnx"].load(path, wrong)


@pytest.mark.parametrize("form", ["aoti", "onnx"])
def test_a_model_that_torch_cannot_export_is_an_error_of_one_line(tmp_path, form):
    class Moody(nn.Module):
        def forward(self, images):
            return images if images.sum() > 0 else -images

    with pytest.raises(ExportError, match=f"backbone cannot be written as {form}: .*torchscript"):
        FORMATS[form].save(Moody(), BACKBONE, tmp_path / "model")


@pytest.mark.parametrize(
    ("runtime", "library"),
    [
        ("onnxruntime", "onnxruntime/libtriton_onnxruntime.so"),
        ("torch_aoti", "pytorch/libtriton_pytorch.so"),
    ],
)
def test_a_form_is_served_by_a_tritonserver_that_has_its_backend_alone(
    tmp_path, monkeypatch, runtime, library
):
    monkeypatch.delenv("TRITONSERVER", raising=False)
    with pytest.raises(EmbeddedServerError, match=rf"{runtime}.*--format torchscript.*TRITON"):
        find_installation({runtime, ""})
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("TRITONSERVER", str(program))
    with pytest.raises(EmbeddedServerError, match=f"comes without .*{library}"):
        find_installation({runtime, ""})
    (tmp_path / "backends" / library).parent.mkdir(parents=True)
    (tmp_path / "backends" / library).touch()
    assert find_installation({runtime, ""}).program == program
    monkeypatch.delenv("TRITONSERVER")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert find_installation({runtime, ""}).program == program


@pytest.mark.parametrize("form", ["onnx", "package"])
def test_serve_refuses_a_form_without_its_files(form, request, tmp_path):
    repository = request.getfixturevalue(form)
    config = (repository / "backbone" / "config.pbtxt").read_text()
    (tmp_path / "backbone" / "1").mkdir(parents=True)
    (tmp_path / "backbone" / "config.pbtxt").write_text(config)
    with pytest.raises(EmbeddedServerError, match=r"'backbone' has no model\.(onnx|pt2) "):
        read_repository(tmp_path)


def test_doctor_knows_the_tensors_of_a_package_by_their_places():
    class Server:
        def model_tensors(self, _):
            places = (("INPUT__0", "UINT8"),), (("OUTPUT__1", "FP32"), ("OUTPUT__0", "FP32"))
            return tuple(tuple(Tensor(name, kind, (1,)) for name, kind in each) for each in places)

    server: Any = Server()
    inputs, outputs = _tensors_of(server, BACKBONE)
    assert [tensor.name for tensor in inputs] == ["IMAGE__0"]
    assert [tensor.name for tensor in outputs] == ["POOLED__1", "FEATURE_MAP__0"]
