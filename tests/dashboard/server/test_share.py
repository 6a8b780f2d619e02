"""Sharing: what is refused before anything starts, who is answered, and that a real server asks first."""

import asyncio
import base64
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.engine.client import EngineClient
from dashboard.server import launch, sign_in
from dashboard.server.server import OwnHosts, Password, guards
from dashboard.server.sharing import OWN_HOSTS, PASSWORD_VARIABLE, Sharing, SharingError, read_sharing
from tests.support.servers import launched
from toast_core.setup import Setup

SECRET = "correct horse: battery"
WRONG = "correct horse: bakery.."
_SESSION = Path(launch.__file__).parents[1] / "entry" / "session.py"
_LAUNCH = (
    "import pathlib, sys; from dashboard.server.launch import launch; from dashboard.server.sharing import read_sharing\n"
    "from toast_core.setup import Setup; here = pathlib.Path.cwd()\n"
    "sharing = read_sharing(True, pathlib.Path(sys.argv[2]), ['desk.example'], here, here)\n"
    "sys.exit(launch(Setup.from_json(sys.argv[1]), sharing, headless=True))"
)


@pytest.fixture(autouse=True)
def no_password_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


def shared(tmp_path: Path, password: bytes = SECRET.encode(), hosts: tuple[str, ...] = ("desk.example",)) -> Sharing:
    """What `--share --password-file FILE --allowed-host ...` comes to."""
    file = tmp_path / "password"
    file.write_bytes(password)
    return read_sharing(True, file, hosts, tmp_path, tmp_path)


def basic(password: str, user: str = "anyone") -> str:
    """An Authorization header's value."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class TestFlags:
    """What the command line asks for becomes a decision or one clear line."""

    @pytest.mark.parametrize(("share", "content", "hosts", "says"), [
        (False, SECRET.encode(), (), "--password-file is for a shared dashboard; add --share"),
        (False, None, ("desk",), "--allowed-host is for a shared dashboard; add --share"),
        (True, SECRET.encode(), (), "--share needs the name that others will type; add --allowed-host NAME"),
        (True, None, ("desk",), "--share needs a password of at least 12 characters; give --password-file FILE or set TOAST_PASSWORD"),
        (True, b"eleven char", ("desk",), "has 11 characters, fewer than 12; choose a longer password"),
        (True, b"", ("desk",), "has 0 characters, fewer than 12"),
        (True, "ä".encode() * 11, ("desk",), "has 11 characters, fewer than 12"),
        (True, b"\xff" * 20, ("desk",), "is not UTF-8 text; write one line of text"),
        (True, b"first line here\nsecond line", ("desk",), "is not one line of at most 1024 printable characters"),
        (True, b"x" * 5000, ("desk",), "is not one line of at most 1024 printable characters"),
        (True, SECRET.encode(), ("https://desk",), "--allowed-host 'https://desk' is no host name"),
        (True, SECRET.encode(), ("desk:8501",), "--allowed-host 'desk:8501' is no host name"),
        (True, SECRET.encode(), ("*",), "--allowed-host '*' is no host name"),
        (True, SECRET.encode(), ("*.example.org",), "is no host name"),
        (True, SECRET.encode(), ("",), "--allowed-host '' is no host name"),
        (True, SECRET.encode(), ("desk\nevil",), "is no host name"),
    ])
    def test_what_is_not_safe_is_refused_in_one_line(self, tmp_path, share, content, hosts, says):
        file = None
        if content is not None:
            file = tmp_path / "password"
            file.write_bytes(content)
        with pytest.raises(SharingError) as caught:
            read_sharing(share, file, hosts, tmp_path, tmp_path)
        assert says in str(caught.value) and "\n" not in str(caught.value)

    def test_a_missing_password_file_is_one_line(self, tmp_path):
        with pytest.raises(SharingError, match="cannot be read"):
            read_sharing(True, tmp_path / "nowhere", ("desk",), tmp_path, tmp_path)

    def test_without_share_only_this_machine_is_answered(self, tmp_path, monkeypatch):
        monkeypatch.setenv(PASSWORD_VARIABLE, SECRET)
        alone = read_sharing(False, None, (), tmp_path, tmp_path)
        assert alone == Sharing() and not alone.is_open and len(guards(alone)) == 1
        assert launch._sharing_in_words(alone, 8501) == []

    def test_the_password_comes_from_the_file_or_else_the_environment_and_its_line_break_does_not_count(self, tmp_path, monkeypatch):
        monkeypatch.setenv(PASSWORD_VARIABLE, "another password of mine")
        assert shared(tmp_path, SECRET.encode() + b"\r\n").knows(basic(SECRET))
        from_environment = read_sharing(True, None, ("desk",), tmp_path, tmp_path)
        assert from_environment.knows(basic("another password of mine")) and not from_environment.knows(basic(SECRET))

    def test_a_short_password_in_the_environment_is_refused_by_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv(PASSWORD_VARIABLE, "short")
        with pytest.raises(SharingError, match="TOAST_PASSWORD has 5 characters"):
            read_sharing(True, None, ("desk",), tmp_path, tmp_path)

    def test_names_are_kept_as_browsers_send_them(self, tmp_path):
        assert shared(tmp_path, hosts=("Desk.Example.", "192.0.2.7", "[2001:DB8::1]")).hosts == (
            *OWN_HOSTS, "desk.example", "192.0.2.7", "2001:db8::1"
        )

    def test_the_password_itself_goes_nowhere(self, tmp_path, monkeypatch):
        sharing = shared(tmp_path)
        passed_on = json.dumps([launch._environment(Setup().completed(), sharing), launch._command(8501, True, sharing)])
        assert SECRET not in passed_on and SECRET not in "".join(launch._sharing_in_words(sharing, 8501))
        monkeypatch.setattr(os, "environ", {**os.environ, **sharing.to_environment()})
        assert Sharing.from_environment() == sharing

    def test_the_log_says_who_is_answered_and_that_nothing_is_encrypted(self, tmp_path):
        lines = " ".join(launch._sharing_in_words(shared(tmp_path), 8501))
        assert "http://desk.example:8501, after the password (any user name)" in lines
        assert "Plain HTTP is not encrypted" in lines and "TLS" in lines

    def test_a_shared_server_binds_every_address_and_tells_no_paths(self, tmp_path):
        command = " ".join(launch._command(8501, True, shared(tmp_path)))
        assert "--server.address 0.0.0.0" in command and "--client.showErrorDetails none" in command
        assert "--server.allowedHosts desk.example" in command and "allowedHosts *" not in command


class TestProvider:
    """An identity provider in secrets.toml instead of a password, or beside it."""

    SECRETS = '[auth]\nredirect_uri = "https://desk.example/oauth2callback"\nclient_id = "a"\n'

    @pytest.fixture
    def secrets(self, tmp_path: Path) -> Path:
        """A folder with such a file."""
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text(self.SECRETS)
        return tmp_path

    def test_it_needs_authlib(self, secrets, tmp_path, monkeypatch):
        monkeypatch.setattr("dashboard.server.sharing.find_spec", lambda name: None)
        with pytest.raises(SharingError, match="which needs a package that is not installed; pip install 'Authlib"):
            read_sharing(True, None, ("desk.example",), secrets, tmp_path / "home")

    def test_every_page_then_asks_to_sign_in(self, secrets, tmp_path, monkeypatch):
        monkeypatch.setattr("dashboard.server.sharing.find_spec", lambda name: name)
        sharing = read_sharing(True, None, ("desk.example",), secrets, tmp_path / "home")
        assert sharing.sign_in and sharing.digest is None and sharing.is_open
        assert "limit there who can" in " ".join(launch._sharing_in_words(sharing, 8501))
        monkeypatch.setenv(*next(iter(sharing.to_environment().items())))
        drawn = []
        monkeypatch.setattr(sign_in, "is_signed_in", lambda: drawn.append("asked"))
        monkeypatch.setattr("dashboard.session.state.model_shape", lambda: drawn.append("a page"))
        at = AppTest.from_file(str(_SESSION), default_timeout=180).run()
        assert drawn == ["asked"] and not at.exception

    def test_the_sign_in_page_has_a_button_for_each_provider(self):
        at = AppTest.from_string("from dashboard.server.sign_in import is_signed_in\nassert not is_signed_in()", default_timeout=180)
        at.secrets["auth"] = {"redirect_uri": "x", "client_id": "a", "work": {"client_id": "b"}}
        at.run()
        assert [button.label for button in at.button] == ["Sign in", "Sign in with work"] and not at.exception

    def test_a_broken_file_is_one_line(self, tmp_path):
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth\n")
        with pytest.raises(SharingError, match="mend it or move it away"):
            read_sharing(True, None, ("desk",), tmp_path, tmp_path)

    def test_other_secrets_are_no_provider(self, tmp_path):
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit" / "secrets.toml").write_text("[database]\nauth = 1\n")
        with pytest.raises(SharingError, match="--share needs a password"):
            read_sharing(True, None, ("desk",), tmp_path, tmp_path)


async def _reached(scope: dict, receive: object, send: object) -> None:
    await send({"type": "reached"})


def ask(app: object, kind: str = "http", authorization: str | None = None, client: str = "192.0.2.1", **headers: str) -> dict:
    """The first event of an answer."""
    sent: list[dict] = []

    async def send(event: dict) -> None:
        sent.append(event)

    named = {"host": "desk.example", **headers} | ({"authorization": authorization} if authorization else {})
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    scope = {"type": kind, "headers": raw, "client": (client, 1234), "extensions": {"websocket.http.response": {}}}
    asyncio.run(app(scope, None, send))
    return sent[0]


class TestPassword:
    """Every kind of request, with and without the password."""

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    def test_only_the_password_opens(self, tmp_path, kind):
        app = Password(_reached, shared(tmp_path))
        assert ask(app, kind, basic(SECRET))["type"] == "reached"
        assert ask(app, kind, basic(SECRET, user=""))["type"] == "reached"
        for refused in (
            None, basic(WRONG), basic(""), basic(SECRET[:-1]), basic(SECRET + "x"), f"Bearer {SECRET}", "Basic", "Basic !!!", SECRET,
            f"Basic {base64.b64encode(SECRET.encode()).decode()[:-3]}",
        ):
            answer = ask(app, kind, refused, client=f"192.0.2.{len(str(refused))}")
            assert answer["status"] == 401 and answer["type"].endswith("response.start")
            assert dict(answer["headers"])[b"www-authenticate"].startswith(b"Basic realm=")

    def test_two_passwords_in_one_request_are_refused(self, tmp_path):
        app, sent = Password(_reached, shared(tmp_path)), []

        async def send(event: dict) -> None:
            sent.append(event)

        raw = [(b"authorization", basic(WRONG).encode()), (b"authorization", basic(SECRET).encode())]
        asyncio.run(app({"type": "http", "headers": raw, "client": ("192.0.2.1", 1)}, None, send))
        assert sent[0]["status"] == 401

    def test_ten_wrong_ones_shut_an_address_out_for_a_minute_and_no_other(self, tmp_path):
        now = [0.0]
        app = Password(_reached, shared(tmp_path), lambda: now[0])
        for _ in range(50):
            assert ask(app)["status"] == 401  # none at all is how browsers begin
        for _ in range(10):
            assert ask(app, authorization=basic(WRONG))["status"] == 401
        answer = ask(app, authorization=basic(SECRET))
        assert answer["status"] == 429 and dict(answer["headers"])[b"retry-after"] == b"60"
        assert ask(app, "websocket", basic(SECRET))["status"] == 429
        assert ask(app, authorization=basic(SECRET), client="192.0.2.2")["type"] == "reached"
        now[0] = 61.0
        assert ask(app, authorization=basic(SECRET))["type"] == "reached"

    def test_many_addresses_do_not_fill_the_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("dashboard.server.server._MAX_ADDRESSES", 3)
        app = Password(_reached, shared(tmp_path))
        for number in range(9):
            ask(app, authorization=basic(WRONG), client=f"192.0.2.{number}")
        assert len(app._failures) == 3

    def test_the_name_and_the_origin_are_checked_before_the_password(self, tmp_path):
        sharing = shared(tmp_path)
        app = OwnHosts(Password(_reached, sharing), sharing.hosts)
        assert ask(app, authorization=basic(SECRET))["type"] == "reached"
        assert ask(app, authorization=basic(SECRET), host="desk.example:8501", origin="http://desk.example:8501")["type"] == "reached"
        assert ask(app, authorization=basic(SECRET), origin="https://desk.example")["type"] == "reached"
        for foreign in ({"host": "rebound.example"}, {"origin": "https://elsewhere.example"}, {"origin": "null"}):
            for kind in ("http", "websocket"):
                assert ask(app, kind, basic(SECRET), **foreign)["status"] == 403

    def test_a_server_without_the_extension_closes_the_web_socket(self, tmp_path):
        sent = []

        async def send(event: dict) -> None:
            sent.append(event)

        asyncio.run(Password(_reached, shared(tmp_path))({"type": "websocket", "headers": [], "client": None}, None, send))
        assert sent == [{"type": "websocket.close", "code": 1008}]

    def test_the_server_itself_still_starts(self, tmp_path):
        async def lifespan(scope: dict, receive: object, send: object) -> None:
            await send({"type": "started"})

        assert ask(Password(lifespan, shared(tmp_path)), "lifespan")["type"] == "started"


@pytest.fixture(scope="module")
def address(real_engine: EngineClient, engine_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Address and port of a shared dashboard."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "password").write_text(f"{SECRET}\n")
    words = (str(folder / "password"),)
    with launched(real_engine.setup, engine_root, folder, *words, script=_LAUNCH, HOME=str(folder)) as found:
        yield "127.0.0.1", int(found.rpartition(":")[2])


class TestServer:
    """A real server on every address of the machine."""

    @staticmethod
    def status(address: tuple[str, int], path: str = "/", **headers: str) -> int:
        """The status of a request."""
        request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers=headers)
        try:
            return urllib.request.urlopen(request, timeout=120).status
        except urllib.error.HTTPError as error:
            return error.code

    @staticmethod
    def socket_status(address: tuple[str, int], authorization: str | None, host: str | None = None, origin: str | None = None) -> int:
        """The status of a web socket's handshake."""
        own = f"desk.example:{address[1]}"
        key = base64.b64encode(os.urandom(16)).decode()
        sent = f"Authorization: {authorization}\r\n" if authorization else ""
        request = (
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host or own}\r\nOrigin: {origin or f'http://{own}'}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{sent}\r\n"
        )
        with socket.create_connection(address, timeout=120) as connection:
            connection.sendall(request.encode())
            return int(connection.recv(4096).split()[1])

    @pytest.mark.parametrize("path", ["/", "/tune", "/_stcore/health", "/_stcore/host-config", "/static/index.html", "/nowhere"])
    def test_nothing_is_served_without_the_password(self, address, path):
        assert self.status(address, path) == 401
        assert self.status(address, path, Authorization=basic(SECRET), Host="rebound.example") == 403
        assert self.status(address, path, Authorization=basic(SECRET), Origin="https://elsewhere.example") == 403

    def test_with_it_pages_and_web_sockets_answer_under_every_allowed_name(self, address):
        right = basic(SECRET)
        assert self.status(address, Authorization=right) == 200
        assert self.status(address, Authorization=right, Host=f"desk.example:{address[1]}") == 200
        assert self.socket_status(address, right) == 101
        assert self.socket_status(address, None) == 401
        assert self.socket_status(address, right, host="rebound.example", origin="http://rebound.example") == 403
        assert self.socket_status(address, right, origin="https://elsewhere.example") == 403

    def test_an_upload_is_asked_for_the_password_too(self, address):
        request = urllib.request.Request(f"http://{address[0]}:{address[1]}/_stcore/upload_file/a/b", data=b"x" * 100, method="PUT")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=120)
        assert caught.value.code == 401

    def test_a_browser_that_was_given_the_password_shows_the_pages(self, address, chromium):
        from playwright.sync_api import expect, sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
            context = browser.new_context(http_credentials={"username": "me", "password": SECRET})
            page = context.new_page()
            page.goto(f"http://{address[0]}:{address[1]}")
            expect(page.get_by_text("GMACs by part")).to_be_visible(timeout=60_000)
            assert page.get_by_test_id("stException").count() == 0
            browser.close()

    def test_wrong_passwords_are_slowed_down(self, address):
        wrong = basic(WRONG)
        statuses = [self.status(address, Authorization=wrong) for _ in range(12)]
        assert statuses[0] == 401 and statuses[-1] == 429
