"""Where the server is: arguments, environment, client.yaml, or the service that `wring up` runs here."""

import json
import os
import pathlib
from dataclasses import dataclass

import yaml


@dataclass
class Config:
    server: str  # HOST:PORT; empty: none known
    token: str  # empty: none
    ca: str  # PEM file; empty: plain text


def config(server: str = "", token: str = "", ca: str = "") -> Config:
    """The first that is set of: the arguments, WRING_SERVER / WRING_TOKEN / WRING_CA, client.yaml (as for `wring`), and
    for the server what `wring up` wrote. Raises ValueError that names the file and what is wrong in it."""
    path = _home("XDG_CONFIG_HOME", ".config") / "client.yaml"
    file = _read(path)
    found = Config(server or os.environ.get("WRING_SERVER", "") or file.get("server", ""),
                   token or os.environ.get("WRING_TOKEN", "") or file.get("token", ""),
                   ca or os.environ.get("WRING_CA", "") or (str(path.parent / file["ca"]) if file.get("ca") else ""))
    endpoints = _home("XDG_DATA_HOME", ".local/share") / "endpoints.json"
    if not found.server and endpoints.is_file():
        try:
            found.server = json.loads(endpoints.read_text(encoding="utf-8"))["grpc"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{endpoints}: names no grpc address ({error!r})") from None
    if found.ca and not os.path.isfile(found.ca):
        raise ValueError(f"{found.ca}: there is no such file, the server's authority")
    return found


def _home(variable: str, below_home: str) -> pathlib.Path:
    return pathlib.Path(os.environ.get(variable) or pathlib.Path.home() / below_home) / "wring"


def _read(path: pathlib.Path) -> dict:
    if not path.is_file():
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: is no map of keys")
    for key, value in values.items():
        if key not in ("server", "token", "ca") or not isinstance(value, str):
            raise ValueError(f"{path}: '{key}' is none of server: HOST:PORT, token: TEXT, ca: FILE")
    return values
