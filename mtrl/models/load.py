"""Loads a trained model: the one shipped in the package, one in a folder, or one on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mtrl.files.filenames import expanded
from mtrl.hub.client import CONFIG, REPO_ID, advice_on_copy, download
from mtrl.models.checkpoint_checks import expected_tensors, parse_settings
from mtrl.models.config import ModelConfig
from mtrl.models.device import pick_device
from mtrl.models.reid import MTRL
from mtrl.models.weights import Shapes, read_files

SHIPPED = Path(__file__).parents[1] / "assets" / "model"


def load_pretrained(
    source: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    token: str | bool | None = None,
) -> MTRL:
    """A trained model, float32, in evaluation mode.

    source    None: the checkpoint shipped in the package; a folder; or a Hugging Face Hub id "user/repo",
              of which only `config.json` and `model.safetensors` are fetched (and kept in the Hub's cache)
    device    "cpu", "cuda", "cuda:1", "mps", ..., or "auto": a GPU where there is one
    revision  branch, tag or commit on the Hub;  token: for private repositories (default: the one logged in)
    An existing folder always wins over a Hub id. Raises FileNotFoundError for a checkpoint that is not there,
    ValueError for one that is damaged or a device that cannot be used, OSError when the Hub cannot be
    reached.
    """
    chosen = pick_device(device)
    folder = find_checkpoint(source, revision=revision, token=token)
    try:
        model = read_checkpoint(folder)
    except ValueError as error:
        raise ValueError(f"{error}{advice_on_copy(folder)}") from error
    return model.to(chosen)


def find_checkpoint(
    source: str | Path | None, *, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """The local folder of a checkpoint (see `load_pretrained`), after a download if need be."""
    if source is None:
        if not (SHIPPED / CONFIG).is_file():
            raise FileNotFoundError(
                f"no checkpoint is shipped in {SHIPPED}; train one with `python -m train --output runs/x` "
                "and give its folder"
            )
        return SHIPPED
    folder = expanded(source)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{source} is a folder; a revision belongs to a Hub id")
        return folder
    if isinstance(source, Path) or not REPO_ID.fullmatch(source):
        hint = "give the folder that holds it" if folder.exists() else "there is no such folder"
        raise FileNotFoundError(f'cannot load {source}: {hint} (a Hub model is written "user/repo")')
    return download(source, revision, token)


def read_checkpoint(folder: str | Path) -> MTRL:
    """The model of a folder, float32, in evaluation mode, on the CPU.

    Raises FileNotFoundError for missing files, ValueError for files that are damaged, foreign or do not fit.
    """
    folder = Path(folder)

    def expected(config: ModelConfig, shapes: Shapes) -> dict[str, Tensor]:
        return expected_tensors(config, shapes, MTRL)

    config, state = read_files(folder, "checkpoint", parse_settings, expected)
    with torch.random.fork_rng(devices=[]):  # building draws random weights; the caller's random state stays
        model = MTRL(config)
    model.load_state_dict(state, strict=True)
    return model.eval()
