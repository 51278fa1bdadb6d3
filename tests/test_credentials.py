"""Locked servers: TLS, certificates of both sides, headers; certificates made on the spot."""

import asyncio
import datetime
import re
import sys
from pathlib import Path

import grpc
import pytest
import trustme
from completelook import AsyncCompleteLook, CompleteLook, Credentials, cli
from completelook.clients import diagnose
from completelook.errors import ServerError, ServerUnavailable, UsageError
from fakes import CATEGORIES, FakeTriton

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> dict[str, Path]:
    """PEM files: two authorities, and a client's certificate and key of the first."""
    mine = authority.issue_cert("shop@example.org")
    contents = {
        "ca": authority.cert_pem,
        "other": trustme.CA().cert_pem,
        "certificate": mine.cert_chain_pems[0],
        "key": mine.private_key_pem,
        "other_key": authority.issue_cert("a@example.org").private_key_pem,
    }
    paths = {name: tmp_path / f"{name}.pem" for name in contents}
    for name, content in contents.items():
        content.write_to_path(str(paths[name]))
    return paths


def server_credentials(certificate: trustme.LeafCert, clients: trustme.CA | None = None):
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    return grpc.ssl_server_credentials(
        [pair], clients and clients.cert_pem.bytes(), require_client_auth=clients is not None
    )


def address(triton: FakeTriton) -> str:
    return triton.address.replace("127.0.0.1", "localhost")


def ask(triton: FakeTriton, credentials: Credentials) -> tuple[str, ...]:
    with CompleteLook(address(triton), timeout_s=10, credentials=credentials) as look:
        return look.categories()


def test_tls_and_a_certificate_of_ones_own_reach_a_locked_server(authority, files) -> None:
    mutual = server_credentials(authority.issue_cert("localhost"), clients=authority)
    credentials = Credentials(
        ca=files["ca"], certificate=files["certificate"], key=files["key"], headers={"X-Shop": "7"}
    )
    with FakeTriton().running(mutual) as triton:
        assert ask(triton, credentials) == CATEGORIES
        assert triton.headers["x-shop"] == "7"
        with pytest.raises(ServerUnavailable, match="--cert and --key"):
            ask(triton, Credentials(ca=files["ca"]))

        async def awaited() -> tuple[str, ...]:
            async with AsyncCompleteLook(address(triton), credentials=credentials) as look:
                return await look.categories()

        triton.headers = {}
        assert asyncio.run(awaited()) == CATEGORIES
        assert triton.headers["x-shop"] == "7"
        found = diagnose(address(triton), model_repository=Path("none"), credentials=credentials)
        assert all(check.passed for check in found)


@pytest.mark.parametrize(
    ("issued", "credentials", "way_out"),
    [
        pytest.param({}, {"ca": "other"}, "authority that is not trusted.*--ca FILE", id="CA"),
        pytest.param({}, {"tls": True}, "authority that is not trusted.*--ca FILE", id="usual CAs"),
        pytest.param({}, {}, "if it wants TLS, give --tls or --ca FILE", id="plain to TLS"),
        pytest.param(
            {"not_before": NOW - 9 * DAY, "not_after": NOW - DAY},
            {"ca": "ca"}, "has expired: renew it there", id="expired",
        ),
        pytest.param({"name": "example.org"}, {"ca": "ca"}, "for another host", id="other name"),
    ],
)  # fmt: skip
def test_handshake_that_fails_says_what_to_do(
    authority, files, issued: dict, credentials: dict, way_out: str
) -> None:
    certificate = authority.issue_cert(issued.pop("name", "localhost"), **issued)
    given = {name: files.get(value, value) for name, value in credentials.items()}
    with (
        FakeTriton().running(server_credentials(certificate)) as triton,
        pytest.raises(ServerUnavailable, match=way_out) as caught,
    ):
        ask(triton, Credentials(**given))
    assert not caught.value.passes
    assert not triton.calls


def test_tls_to_a_plain_server_says_so(triton: FakeTriton, files) -> None:
    with pytest.raises(ServerUnavailable, match="does not speak TLS: leave out --tls"):
        ask(triton, Credentials(ca=files["ca"]))


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_server_that_asks_for_a_token_is_named(triton: FakeTriton, code: str) -> None:
    triton.fail("ModelConfig", grpc.StatusCode[code], "token missing")
    with pytest.raises(ServerError, match=r"\(token missing\).*--header"):
        ask(triton, Credentials())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ca": "gone"}, "gone.*No such file"),
        ({"ca": "key"}, "expected PEM files"),
        ({"certificate": "certificate"}, "give both"),
        ({"certificate": "certificate", "key": "other_key"}, "the key that of the certificate"),
        ({"headers": {"x y": "1"}}, "header 'x y' cannot be sent"),
        ({"headers": {"x-bin": "1"}}, "header 'x-bin' cannot be sent"),
        ({"headers": {"x": "geheim\n"}}, "header 'x' cannot be sent"),
    ],
)
def test_credentials_that_cannot_work_are_refused_at_once(files, given: dict, message: str) -> None:
    given = {
        name: value if name == "headers" else files.get(value, Path(value))
        for name, value in given.items()
    }
    with pytest.raises(UsageError, match=message) as caught:
        Credentials(**given)
    assert "geheim" not in str(caught.value)


def test_a_token_is_not_in_the_credentials_text() -> None:
    assert "geheim" not in repr(Credentials(headers={"authorization": "Bearer geheim"}))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["completelook", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_commands_share_the_options_that_reach_a_locked_server(
    authority,
    files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # away from what the demo has exported
    mutual = server_credentials(authority.issue_cert("localhost"), clients=authority)
    with FakeTriton().running(mutual) as triton:
        options = ["--server", address(triton), "--ca", files["ca"], "--cert", files["certificate"]]
        options += ["--key", files["key"], "--header", "Authorization: Bearer a b"]
        assert run(monkeypatch, "categories", *options) == 0
        assert triton.headers["authorization"] == "Bearer a b"
        assert run(monkeypatch, "doctor", *options, "--header", "x:y") == 0
        assert triton.headers["x"] == "y"
        names = ("server", "ca", "cert", "key")
        for name, value in zip(names, options[1::2], strict=False):
            monkeypatch.setenv(f"COMPLETELOOK_{name.upper()}", str(value))
        monkeypatch.setenv("COMPLETELOOK_HEADERS", "authorization: Bearer c d\nx: z")
        capsys.readouterr()
        assert run(monkeypatch, "categories") == 0
        assert capsys.readouterr().out.splitlines() == [*CATEGORIES]
        assert (triton.headers["authorization"], triton.headers["x"]) == ("Bearer c d", "z")


@pytest.mark.parametrize("command", ["doctor", "categories", "index", "rank"])
def test_every_command_that_asks_a_server_has_the_options(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, command, "--help") == 0
    text = capsys.readouterr().out
    for option in ("--server", "--tls", "--ca", "--cert", "--key", "--header"):
        assert re.search(rf"{option}\b", text)


def test_header_without_a_name_is_a_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "categories", "--header", "token") == 2
    assert run(monkeypatch, "categories", "--cert", "mine.pem") == 2
