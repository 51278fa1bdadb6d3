"""The `completelook-build` command line: data, training, evaluation, export."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from completelook._errors import CompleteLookError

# The packages that a client alone does not have.
_BUILD_EXTRA = {"matplotlib", "sklearn", "tenacity", "torch", "torchvision", "urllib3"}

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
def download(
    pairs: Annotated[Path, typer.Argument(help="JSON lines of product, scene, bbox.")],
    images: ImagesOption,
    host: Annotated[str, typer.Option(help="Where pictures are served by signature.")] = (
        "https://i.pinimg.com"
    ),
    rate: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Requests a second, at most.")
    ] = 20.0,
) -> None:
    """Fetch the pictures of pairs; the same command goes on where it was stopped."""
    from completelook_build.console import say
    from completelook_build.download import download as fetch
    from completelook_build.download import list_path
    from completelook_build.pace import Pace
    from completelook_build.picture_host import is_host

    if not is_host(host):
        raise typer.BadParameter(f"{host!r}: expected a URL such as https://i.pinimg.com")
    report = fetch(pairs, images, Pace(rate), host=host)
    say(report.summary())
    if report.missing:
        say(f"{list_path(images)} lists what is missing; the same command tries again")
        raise typer.Exit(3)


@app.command()
def stats(
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """What the data is: scenes, products, pairs, categories, crops, and what is dropped."""
    from completelook_build.files import write_text
    from completelook_build.pairs import read_pairs
    from completelook_build.stats import describe, print_tables

    description = describe(read_pairs(pairs, categories, images))
    print_tables(description)
    if json_path is not None:
        write_text(json_path, json.dumps(description.as_json(), indent=2) + "\n")


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
    mining: Annotated[
        str, typer.Option(help="Negatives that count: random (all, the paper's) or semi-hard.")
    ] = "random",
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished training in --out.")
    ] = False,
) -> None:
    """Train the heads on the frozen backbone's features; torchrun starts several processes."""
    from completelook_build.distributed import process_group
    from completelook_build.recipe import Recipe, train_model
    from completelook_build.training import MININGS, TrainingConfig

    if mining not in MININGS:
        raise typer.BadParameter(f"{mining!r}: expected one of {', '.join(MININGS)}")
    recipe = Recipe(
        pairs=pairs,
        categories=categories,
        images=images,
        backbone=backbone,
        features=features or pairs.with_name("features"),
        attention_scale=attention_scale,
        training=TrainingConfig(epochs=epochs, negatives=negatives, mining=mining, seed=seed),
    )
    with process_group():
        train_model(recipe, out, resume=resume)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    features: FeaturesOption = None,
    negatives: Annotated[
        int | None,
        typer.Option(min=1, help="Draw this many negatives for each pair, instead of taking all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw, and of the intervals.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    markdown_path: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Accuracy, AUC and rank figures on the test scenes, overall and by category."""
    from completelook_build.evaluation import evaluate_model, print_table
    from completelook_build.files import write_text

    features = features or pairs.with_name("features")
    evaluation = evaluate_model(
        model, pairs, categories, images, features, sample=negatives, seed=seed
    )
    print_table(evaluation)
    if json_path is not None:
        write_text(json_path, json.dumps(evaluation.as_json(), indent=2) + "\n")
    if markdown_path is not None:
        write_text(markdown_path, evaluation.as_markdown())


@app.command()
def calibrate(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    features: FeaturesOption = None,
) -> None:
    """Fit what a distance means, as a probability, and store it with the model for `export`."""
    from completelook_build.calibration import calibrate_model

    report = calibrate_model(
        model, pairs, categories, images, features or pairs.with_name("features")
    )
    print(report.as_text())


@app.command()
def compare(
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of table.md and table.json.")],
    backbone: Annotated[
        str, typer.Option(help="imagenet, random:SEED or a resnet50 state dict.")
    ] = "imagenet",
    features: FeaturesOption = None,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row that learns.")] = 3,
) -> None:
    """Train and test baselines, the model and its ablations; a second run goes on with the rest."""
    from completelook_build.comparison import Comparison, make_table
    from completelook_build.table import print_table
    from completelook_build.training import TrainingConfig

    comparison = Comparison(
        pairs=pairs,
        categories=categories,
        images=images,
        backbone=backbone,
        features=features or pairs.with_name("features"),
        seeds=seeds,
        training=TrainingConfig(epochs=epochs),
    )
    print_table(make_table(comparison, out))


@app.command()
def attention(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of attention.json, .md, .png.")],
    features: FeaturesOption = None,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes on the picture sheet.")] = 6,
) -> None:
    """Where the model looks in the test scenes: against true anchors, and generic saliency."""
    from completelook_build.attention_report import study_model
    from completelook_build.attention_table import print_table

    features = features or pairs.with_name("features")
    print_table(study_model(model, pairs, categories, images, features, out, scenes=scenes))


@app.command()
def sheet(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of sheet.html and sheet.png.")],
    features: FeaturesOption = None,
    scenes: Annotated[int, typer.Option(min=1, help="Test scenes to show.")] = 10,
) -> None:
    """Show the true product and the five nearest of its category for some test scenes."""
    from completelook_build.sheet import make_sheet

    features = features or pairs.with_name("features")
    for path in make_sheet(model, pairs, categories, images, features, out, scenes=scenes):
        print(path)


@app.command()
def export(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    model_repository: Annotated[Path, typer.Option(help="Triton's model repository.")] = Path(
        "model_repository"
    ),
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16 inside the backbone.")
    ] = "fp32",
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Say what a reduced precision costs on these test scenes."),
    ] = None,
    categories: Annotated[
        Path | None, typer.Option("--categories", help="JSON map of product to category.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of ID.jpg pictures.")
    ] = None,
    features: FeaturesOption = None,
    response_cache: Annotated[
        bool,
        typer.Option("--response-cache", help="Have Triton remember the answers of embed_scene."),
    ] = False,
) -> None:
    """Write the model into Triton's repository, checked against eager PyTorch."""
    from completelook_build.backbone import PRECISIONS
    from completelook_build.calibration import read_calibration
    from completelook_build.export import export_model
    from completelook_build.model_folder import load_model
    from completelook_build.precision_cost import NOT_MEASURED, REFERENCE, measure_cost

    if precision not in PRECISIONS:
        raise typer.BadParameter(f"{precision!r}: expected one of {', '.join(PRECISIONS)}")
    if not (pairs and categories and images) and (pairs or categories or images):
        raise typer.BadParameter("--pairs, --categories and --images go together: give all three")
    trained = load_model(model)
    cost = NOT_MEASURED
    if precision != REFERENCE and pairs and categories and images:
        features = features or pairs.with_name("features")
        # Before the export: data that cannot be read leaves the repository as it was.
        cost = measure_cost(trained, precision, pairs, categories, images, features).as_text()
    report = export_model(
        trained,
        model_repository,
        precision=precision,
        calibration=read_calibration(model, trained.heads_id),
        response_cache=response_cache,
    )
    parity = ", ".join(f"{d:.1e} at batch {b}" for b, d in report.parity.items())
    print(f"exported model {report.model_id:016x} ({report.precision}) to {model_repository}")
    print(f"largest difference from eager PyTorch: {parity}")
    if precision != REFERENCE:
        print(cost)


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
