"""The training side's command line: one line for what a user can mend, figures on stdout."""

import subprocess
import sys

import pytest
from completelook.errors import UsageError
from completelook_build import cli
from completelook_build.cli import app
from completelook_build.errors import DataError
from typer.testing import CliRunner

pytestmark = pytest.mark.slow


def run(*arguments, **options):
    command = [sys.executable, "-c", "from completelook_build.cli import main; main()", *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )


def test_from_pictures_to_a_repository_and_back(small_showroom, tmp_path, monkeypatch, capsys):
    def run(command, *options):
        monkeypatch.setattr("sys.argv", ["completelook-build", command, *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err
        return printed

    model, repository, figures = (tmp_path / name for name in ("model", "repository", "figures"))
    backbone = ("--backbone", "efficientnet-lite0")
    trained = run("train", "--data", small_showroom, "--out", model, *backbone, "--epochs", 2)
    assert "ImageNet" in trained.err
    assert trained.out == ""
    evaluated = run("evaluate", "--model", model, "--data", small_showroom, "--json", figures)
    assert "pairwise" in evaluated.out
    assert "pairwise_accuracy" in figures.read_text()
    calibrated = run("calibrate", "--model", model, "--data", small_showroom)
    assert "unseen test pairs" in calibrated.out
    exported = run("export", "--model", model, "--model-repository", repository)
    assert "largest difference from the trained model" in exported.out
    assert (repository / "backbone/1/model.pt").exists()
    assert 'key: "calibration"' in (repository / "embed_scene/config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        pytest.param(("export", "--model", "nowhere"), "nowhere", id="no model"),
        pytest.param(
            ["train", "--data", "gone", "--out", "model"],
            "gone",
            id="no data",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(arguments, name, tmp_path):
    finished = run(*arguments, cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert name in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_without_the_build_extra_the_error_names_it(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None; import completelook_build.cli as c; c.main()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, "export", "--model", "m"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert finished.returncode == 1
    assert finished.stderr == "error: torch is not installed: pip install 'completelook[build]'\n"


@pytest.mark.parametrize("scale", ["0", "-2", "nan"])
def test_an_attention_scale_that_trains_nothing_but_nan_is_a_wrong_usage(scale, tmp_path):
    options = ("train", "--data", tmp_path, "--out", tmp_path / "model")
    result = CliRunner().invoke(app, [*map(str, options), f"--attention-scale={scale}"])
    assert result.exit_code == 2
    assert "attention scale" in result.output
    assert not (tmp_path / "model").exists()


def test_a_wrong_option_is_exit_code_2(tmp_path):
    assert run("export", "--model", "m", "--precision", "fp8", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--recipe", "large-data"], "expected one of paper, small-data"),
        (
            ["--recipe", "small-data", "--negatives", "4"],
            "--negatives and --mining are the paper's",
        ),
        (["--recipe", "small-data", "--mining", "random"], "are the paper's"),
    ],
)
def test_a_recipe_takes_its_own_options_alone(options, reason, tmp_path):
    result = CliRunner().invoke(app, ["train", "--data", "d", "--out", str(tmp_path), *options])
    assert result.exit_code == 2
    assert reason in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("a\nb"), 2), (DataError("a\nb"), 1), (OSError("a\nb"), 1)],
    ids=["usage", "data", "file"],
)
def test_an_error_is_one_line_and_its_exit_code(error, code, monkeypatch, capsys):
    def failing():
        raise error

    monkeypatch.setattr(cli, "app", failing)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert capsys.readouterr().err == "error: a b\n"
