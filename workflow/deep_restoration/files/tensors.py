"""Weights as safetensors, with their stage, provenance and checksums."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .atomic import atomic, check_stage, damaged, error_code, reading, require_file


def save_tensors(path: str | os.PathLike, tensors: dict, stage: str, provenance: dict) -> None:
    """Write torch tensors as safetensors with their stage, provenance and checksums."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {name: _checksum(tensor) for name, tensor in tensors.items()}
    facts = {"stage": stage, **provenance, "checksums": checksums}
    facts["checksum"] = _checksum_of_facts(facts)
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"deep_restoration": json.dumps(facts, sort_keys=True)}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # in words alone, and not of which file
            if code := error_code(error):
                raise OSError(code, os.strerror(code), str(temporary)) from error
            raise
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # safetensors lets nobody else read


class Tensors:
    """The tensors of an open safetensors file, each compared with its checksum when it is read."""

    def __init__(self, path: str | os.PathLike, handle, checksums: dict[str, int]):
        self.path, self._handle, self._checksums = path, handle, checksums

    def names(self) -> list[str]:
        return sorted(self._checksums)

    def get_tensor(self, name: str):
        """Raises StorageError when it is damaged or not there."""
        if name not in self._checksums:
            raise damaged(self.path, f"it has no tensor {name}")
        tensor = self._handle.get_tensor(name)
        if _checksum(tensor) != self._checksums[name]:
            raise damaged(self.path, f"tensor {name} does not have its checksum")
        # A copy, in memory of its own: where a tensor lies in the file depends on the length of the facts in
        # front of it, and so do, by the instructions that its alignment allows, the last digits of results.
        return tensor.copy() if isinstance(tensor, np.ndarray) else tensor.clone()


def _checksum(tensor) -> int:
    """CRC-32 of kind, shape and values of a torch tensor or a NumPy array."""
    kind = f"{str(tensor.dtype).rpartition('.')[2]} {list(tensor.shape)}"
    flat = tensor.reshape(-1)
    if not isinstance(flat, np.ndarray):
        import torch

        flat = flat.view(torch.uint8).numpy()
    return zlib.crc32(flat.view(np.uint8).data, zlib.crc32(kind.encode()))


def _checksum_of_facts(facts: dict) -> int:
    rest = {key: value for key, value in facts.items() if key != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


@contextmanager
def open_tensors(path: str | os.PathLike, stage: str, framework: str = "pt") -> Iterator[tuple]:
    """Yield (Tensors, provenance) of a safetensors file; tensors are read one by one.

    Raises StorageError as `open_hdf5` does.
    """
    from safetensors import SafetensorError, safe_open

    require_file(path)
    try:
        with reading(path):
            handle = safe_open(path, framework)
    except SafetensorError as error:
        raise damaged(path, f"not a readable safetensors file: {error}") from None
    with handle as file:
        try:
            facts = json.loads((file.metadata() or {}).get("deep_restoration", "{}"))
            found = facts.pop("stage", "none")
        except (ValueError, AttributeError) as error:
            raise damaged(path, error) from None
        check_stage(path, found, stage)
        if facts.pop("checksum", None) != _checksum_of_facts({"stage": found, **facts}):
            raise damaged(path, "its facts do not have their checksum")
        checksums = facts.pop("checksums")
        if set(checksums) != set(file.keys()):
            raise damaged(path, "its tensors are not those that were written")
        yield Tensors(path, file, checksums), facts


def load_tensors(path: str | os.PathLike, stage: str) -> tuple[dict, dict]:
    """All tensors and the provenance of a safetensors file of a stage."""
    with open_tensors(path, stage) as (file, provenance):
        return {name: file.get_tensor(name) for name in file.names()}, provenance


def load_arrays(path: str | os.PathLike, stage: str) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file of a stage as NumPy arrays, without importing torch."""
    with open_tensors(path, stage, "numpy") as (file, _):
        return {name: file.get_tensor(name) for name in file.names()}
