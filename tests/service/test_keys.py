"""The file of keys: what is kept, what a running server sees of a change, and what harm does to it."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.keys import Keys, KeysUnusable


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def test_without_a_file_no_key_is_needed_and_none_is_known(keys: Keys) -> None:
    assert not keys.required
    assert keys.all() == ()
    assert keys.find("rg_0123456789ab_secret") is None


def test_a_key_is_found_by_its_token_alone(keys: Keys) -> None:
    (one, token), (_, other) = keys.create("one", ["retrieve"]), keys.create("two", ["admin"])
    assert keys.find(token) == one
    *start, secret = token.split("_", 2)
    stolen = other.split("_", 2)[2]
    others = ("_".join([*start, stolen]), f"xx_{one.id}_{secret}", one.digest)
    for wrong in ("", token[:-1], token + "x", "é", *others):
        assert keys.find(wrong) is None, wrong


def test_the_file_is_its_owners_and_holds_no_secret(keys: Keys) -> None:
    _, token = keys.create("one", ["retrieve"])
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert token.split("_", 2)[2] not in keys.path.read_text()
    assert {file.name for file in keys.path.parent.iterdir()} == {"keys.json", ".keys.json-lock"}


def test_another_process_sees_a_revocation_at_once_and_the_last_one_opens_nothing(keys: Keys) -> None:
    key, token = keys.create("one", ["retrieve"])
    server = Keys(keys.path)
    assert server.find(token) == key
    keys.revoke(key.id)
    assert server.find(token) is None
    assert server.required
    with pytest.raises(KeysUnusable, match="keys list"):
        keys.revoke(key.id)


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_harm_to_the_file_neither_opens_a_running_server_nor_closes_it(
    keys: Keys, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, token = keys.create("one", ["retrieve"])
    server = Keys(keys.path)
    assert server.find(token) == key
    if harm == "gone":
        keys.path.unlink()
    else:
        keys.path.write_text("{")
    assert server.required
    assert server.find(token) == key
    assert "stay in force" in caplog.text


def test_a_damaged_file_stops_a_server_that_begins(keys: Keys) -> None:
    for content in ("{", '{"version": 2}', json.dumps({"version": 1, "keys": [{"id": "x"}]})):
        keys.path.write_text(content)
        with pytest.raises(KeysUnusable, match="damaged"):
            assert keys.required


def test_keys_that_are_made_at_once_are_all_there(keys: Keys) -> None:
    names = [f"{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: Keys(keys.path).create(name, ["retrieve"]), names))
    assert sorted(key.name for key in keys.all()) == names
