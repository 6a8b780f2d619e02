"""The store contract over SQLite, and over PostgreSQL where TOAST_TEST_POSTGRES gives the URL of a database to work in."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from analysis_cache.database import default_store
from analysis_cache.errors import StoreError
from analysis_cache.store import EvidenceStore
from tests.analysis_cache.store_contract import StoreContract
from tests.support.cells import fill

SERVER = os.environ.get("TOAST_TEST_POSTGRES")


class TestSqlite(StoreContract):
    """A file in an empty folder."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "new folder" / "evidence.sqlite")

    @pytest.fixture
    def other_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'other.sqlite'}"


@pytest.mark.skipif(SERVER is None, reason="TOAST_TEST_POSTGRES is not set to the URL of a PostgreSQL database")
class TestPostgresql(StoreContract):
    """A schema of its own for each store, so that a run leaves nothing behind."""

    @pytest.fixture
    def url(self) -> Iterator[str]:
        yield from self.schema()

    @pytest.fixture
    def other_url(self) -> Iterator[str]:
        yield from self.schema()

    def schema(self) -> Iterator[str]:
        name, server = f"toast_{uuid.uuid4().hex}", make_url(SERVER).set(drivername="postgresql+psycopg")
        engine = create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        url = server.update_query_dict({"options": f"-csearch_path={name}"})
        yield url.render_as_string(hide_password=False).replace("postgresql+psycopg", "postgresql")
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


def test_the_users_own_store_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOAST_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_store() == str(tmp_path / "toast-studio" / "evidence.sqlite")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == str(tmp_path / ".local" / "share" / "toast-studio" / "evidence.sqlite")
    with EvidenceStore.open() as store:
        fill(store, 1)
    assert (tmp_path / ".local" / "share" / "toast-studio" / "evidence.sqlite").exists()
    monkeypatch.setenv("TOAST_STORE", f"sqlite:///{tmp_path}/mine.sqlite")
    with EvidenceStore.open() as store:
        assert store.name == f"{tmp_path}/mine.sqlite"


@pytest.mark.parametrize(("url", "message"), [
    ("mysql://user@host/db", "unknown kind of store 'mysql'"), ("sqlite://", "would be lost"), ("sqlite:///:memory:", "would be lost"),
    ("://", "cannot be read"), ("postgresql+asyncpg://host/db", "unknown kind of store"),
])
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        EvidenceStore.open(url)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        EvidenceStore.open("postgresql://user:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
