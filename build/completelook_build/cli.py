"""The `completelook-build` command line: data, training, evaluation, export."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from completelook._errors import CompleteLookError

# The packages that a client alone does not have.
_BUILD_EXTRA = {"matplotlib", "torch", "torchvision"}

app = typer.Typer(
    help="Make the models that completelook serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PairsOption = Annotated[Path, typer.Option("--pairs", help="JSON lines of product, scene, bbox.")]
CategoriesOption = Annotated[
    Path, typer.Option("--categories", help="JSON map of product to category.")
]
ImagesOption = Annotated[Path, typer.Option("--images", help="Folder of ID.jpg pictures.")]
FeaturesOption = Annotated[
    Path | None,
    typer.Option("--features", help="Feature cache folder; beside the pairs if not given."),
]


@app.command()
def showroom(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    scenes: Annotated[int, typer.Option(min=10, help="How many rooms.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
) -> None:
    """Render rooms and products whose fit follows a hidden rule: data without a download."""
    from completelook_build.showroom import render_showroom

    render_showroom(out, scenes=scenes, seed=seed)


@app.command()
def train(
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The model folder to make.")],
    backbone: Annotated[
        str, typer.Option(help="imagenet, random:SEED or a resnet50 state dict.")
    ] = "imagenet",
    features: FeaturesOption = None,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives for each pair.")] = 8,
    attention_scale: Annotated[
        float | None,
        typer.Option(
            help="Learn a scale on the attention's logits, from here (5 is a good start)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train the heads on the frozen backbone's features."""
    from completelook_build.recipe import Recipe, train_model
    from completelook_build.training import TrainingConfig

    recipe = Recipe(
        pairs=pairs,
        categories=categories,
        images=images,
        backbone=backbone,
        features=features or pairs.with_name("features"),
        attention_scale=attention_scale,
        training=TrainingConfig(epochs=epochs, negatives=negatives, seed=seed),
    )
    train_model(recipe, out)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    features: FeaturesOption = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Pairwise accuracy on the test scenes, overall and by category."""
    from completelook_build.evaluation import evaluate_model, print_table

    evaluation = evaluate_model(
        model, pairs, categories, images, features or pairs.with_name("features")
    )
    print_table(evaluation)
    if json_path is not None:
        json_path.write_text(json.dumps(evaluation.as_json(), indent=2) + "\n", encoding="utf-8")


@app.command()
def export(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    model_repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16 inside the backbone.")
    ] = "fp32",
) -> None:
    """Write the model into Triton's repository, checked against eager PyTorch."""
    from completelook_build.backbone import PRECISIONS
    from completelook_build.export import export_model
    from completelook_build.model_folder import load_model

    if precision not in PRECISIONS:
        raise typer.BadParameter(f"{precision!r}: expected one of {', '.join(PRECISIONS)}")
    report = export_model(load_model(model), model_repository, precision=precision)
    parity = ", ".join(f"{d:.1e} at batch {b}" for b, d in report.parity.items())
    print(f"exported model {report.model_id:016x} ({report.precision}) to {model_repository}")
    print(f"largest difference from eager PyTorch: {parity}")


def main() -> None:
    """Run the command line; an error a user can mend is one line and exit code 1."""
    try:
        app()
    except (CompleteLookError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except ModuleNotFoundError as error:
        if error.name not in _BUILD_EXTRA:
            raise
        sys.exit(f"error: {error.name} is not installed: pip install 'completelook[build]'")
