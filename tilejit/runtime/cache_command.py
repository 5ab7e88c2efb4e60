"""What ``python -m tilejit cache`` does: shows what is kept on disk, looks for damage, throws it away."""

from __future__ import annotations

import datetime

from tilejit.diagnostics import LaunchError
from tilejit.runtime.program import program_name
from tilejit.store import Entry, Store, StoreError, open_store

CACHE_ACTIONS = ("list", "verify", "clear")


def run_cache_command(action: str) -> str:
    """Do one of ``CACHE_ACTIONS`` and say what came of it.

    Raises: LaunchError where nothing is kept or the folder cannot be used.
    """
    store = open_store()
    if store is None:
        raise LaunchError("nothing is kept on disk: TILEJIT_CACHE=0", "unset it")
    try:
        if action == "list":
            return _list(store)
        if action == "verify":
            entries, damaged = store.entries(), store.verify()
            lines = [f"damaged, removed: {key}" for key in damaged]
            return "\n".join([*lines, f"{len(entries) - len(damaged)} entries are sound"])
        return f"{store.clear()} files removed from {store.folder}"
    except StoreError as error:
        raise LaunchError(str(error), "name another folder with TILEJIT_CACHE_DIR") from None


def _list(store: Store) -> str:
    entries = store.entries()
    total = sum(entry.size_bytes for entry in entries)
    head = f"{store.folder}: {len(entries)} entries, {total / 2**20:.1f} of {store.limit_bytes >> 20} MB"
    return "\n".join([head, *(_line(store, entry) for entry in entries)])


def _line(store: Store, entry: Entry) -> str:
    used = datetime.datetime.fromtimestamp(entry.used_s).isoformat(" ", "minutes")
    content = store.read(entry.key, is_use=False)
    name = "damaged" if content is None else program_name(content) or "part of tilejit"
    return f"{entry.key[:12]}  {used}  {entry.size_bytes:>9}  {name}"
