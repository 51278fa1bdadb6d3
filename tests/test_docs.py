"""What the docs show can be typed: commands parse, options exist, programs run against the fake."""

import asyncio
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from completelook import cli as client_cli
from completelook_build import cli as build_cli
from fakes import make_catalog, picture

ROOT = Path(__file__).parents[1]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")))
PROGRAMS: dict[str, Any] = {
    "completelook": typer.main.get_command(client_cli.app),
    "completelook-build": typer.main.get_command(build_cli.app),
}
# Options of others that the docs speak of: tritonserver, torchrun, pip and the modules with a main.
OTHERS = {
    "--allow-http",
    "--block",
    "--cache-config",
    "--grpc-restricted-protocol",
    "--milvus",
    "--only",
    "--stage-s",
    "--ten-million",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page and the line that it starts in."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(language):
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(page.name, line, match[1], match[2]))
    return [block for block in found if block.language == language]


def commands():
    """Every command line that a page shows after a prompt, or indented, with variables put in."""
    for page in PAGES:
        variables = {}
        for number, line in enumerate(page.read_text().splitlines(), 1):
            shown = re.match(r"(?:\$ |    (?=completelook|torchrun|python ))(.*)", line)
            if shown is None:
                continue
            if assigned := re.fullmatch(r'(\w+)="([^"]*)"\s*(?:#.*)?', shown[1]):
                variables[assigned[1]] = assigned[2]
                continue
            text = re.sub(r"\$(\w+)", lambda found, own=variables: own[found[1]], shown[1])
            words = shlex.split(text, comments=True)
            if ">" in words:  # what the shell takes for itself
                words = words[: words.index(">")]
            if "completelook_build" in words:  # python -m, torchrun -m
                words = ["completelook-build", *words[words.index("completelook_build") + 1 :]]
            yield pytest.param(words, id=f"{page.name}:{number}")


COMMANDS = list(commands())
OURS = [each for each in COMMANDS if each.values[0][0] in PROGRAMS]
PYTHON = blocks("python")


def parse(words):
    """A command line as its program reads it, without running it. Raises click.UsageError."""
    commands = PROGRAMS[words[0]].commands
    if words[1] not in commands:
        raise click.UsageError(f"no command {words[1]}")
    command, rest = commands[words[1]], list(words[2:])
    if isinstance(command, click.Group):
        _, command, rest = command.resolve_command(click.Context(command), rest)
    command.make_context(words[1], rest)


def test_the_docs_show_commands_and_programs():
    assert len(OURS) > 20
    assert len(PYTHON) >= 2


@pytest.mark.parametrize("words", OURS)
def test_a_command_line_of_the_docs_can_be_typed(words):
    parse(words)


@pytest.mark.parametrize(
    "line",
    [
        "completelook rank room.jpg",
        "completelook rank r.jpg --catalog c --no-such",
        "completelook x",
    ],
)
def test_a_command_line_that_its_program_refuses_is_found(line):
    with pytest.raises(click.UsageError):
        parse(shlex.split(line))


@pytest.mark.parametrize("words", [each for each in COMMANDS if each.values[0][0] == "make"])
def test_a_target_of_make_exists(words):
    targets = re.findall(r"^([\w/.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words[1] in targets


def test_every_option_that_the_text_names_exists():
    known = set(OTHERS)
    for program in PROGRAMS.values():
        groups = [each for each in program.commands.values() if isinstance(each, click.Group)]
        inner = [command for group in groups for command in group.commands.values()]
        for command in (program, *program.commands.values(), *inner):
            known.update(name for option in command.params for name in option.opts)
    unknown = {
        f"{page.name}: {option}"
        for page in PAGES
        for code in re.findall(r"`([^`\n]+)`", page.read_text())
        for option in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", code)
        if option not in known
    }
    assert not unknown


def test_every_command_that_the_text_names_exists():
    unknown = {
        f"{page.name}: {code}"
        for page in PAGES
        for code in re.findall(r"`(completelook(?:-build)? [^`\n]+)`", page.read_text())
        if code.split()[1].isalpha() and code.split()[1] not in PROGRAMS[code.split()[0]].commands
    }
    assert not unknown


@pytest.fixture
def shop(tmp_path, monkeypatch, triton):
    """A folder with what the docs' programs name; the address that they name is the fake's."""
    monkeypatch.chdir(tmp_path)
    for name in ("my.arrow", "catalog.arrow"):
        make_catalog(tmp_path / name)
    picture(3).save(tmp_path / "room.jpg", format="PNG")  # a JPEG would change the color
    return lambda text: text.replace("localhost:8001", triton.address)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_program_of_the_docs_runs(block, shop, capsys):
    names = {"__name__": "shown"}
    exec(compile(shop(block.text), str(block), "exec"), names)
    if "app" not in names:
        assert "rug-3" in capsys.readouterr().out
        return
    photo = Path("room.jpg").read_bytes()
    status, found = asyncio.run(posted(names["app"], photo))
    assert status == 200
    assert found[0]["id"] == "rug-3"
    status, refused = asyncio.run(posted(names["app"], b"no picture"))
    assert status == 422
    assert "picture" in refused["detail"]


async def posted(app, body):
    """The status and the JSON with which an ASGI app answers a body posted to /matches."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/matches",
        "query_string": b"category=Rugs",
        "headers": [],
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])
