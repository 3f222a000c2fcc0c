"""Loads a trained model: one shipped in the package, one in a folder, or one on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mtrl.files.filenames import expanded
from mtrl.hub.client import CONFIG, REPO_ID, advice_on_copy, download
from mtrl.models.checkpoint.checks import expected_tensors, parse_settings
from mtrl.models.checkpoint.weights import Shapes, read_files
from mtrl.models.config import ModelConfig
from mtrl.models.device import pick_device
from mtrl.models.reid import MTRL

_ASSETS = Path(__file__).parents[1] / "assets"
SHIPPED = {"accurate": _ASSETS / "accurate", "fast": _ASSETS / "fast"}
"""{name of a shipped checkpoint: its folder}."""
DEFAULT = "accurate"
SOURCE_HELP = (
    'folder of a checkpoint, Hugging Face Hub id "user/repo", or a shipped one: "accurate" (default), "fast"'
)


def load_pretrained(
    source: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    token: str | bool | None = None,
) -> MTRL:
    """Loads a trained model, float32, in evaluation mode.

    source    "accurate" | "fast": a checkpoint shipped in the package; None: the default of the two; or a folder; or a
              Hugging Face Hub id "user/repo", of which only `config.json` and `model.safetensors` are downloaded, into
              the Hub's cache. If a folder of that name exists, it is used
    device    "cpu", "cuda", "cuda:1", "mps", ..., or "auto": a GPU if there is one
    revision  branch, tag or commit on the Hub
    token     access token for private repositories; None: the one logged in
    Raises FileNotFoundError for a checkpoint that does not exist, ValueError for a damaged one or a device that cannot
    be used, and OSError if the Hub cannot be reached.
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
    """The local folder of a checkpoint, which is downloaded if necessary. Arguments and errors as `load_pretrained`."""
    shipped = shipped_folder(source)
    if shipped is not None:
        if revision is not None:
            raise ValueError("a shipped checkpoint has no revisions; a revision belongs to a Hub id")
        if not (shipped / CONFIG).is_file():
            raise FileNotFoundError(
                f"no checkpoint is shipped in {shipped}; train one with `python -m train --output runs/x` "
                "and give its folder"
            )
        return shipped
    assert source is not None
    folder = expanded(source)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{source} is a folder; a revision belongs to a Hub id")
        return folder
    if isinstance(source, Path) or not REPO_ID.fullmatch(source):
        hint = "give the folder that holds it" if folder.exists() else "there is no such folder"
        raise FileNotFoundError(f'cannot load {source}: {hint} (a Hub model is written "user/repo")')
    runs = folder.parent
    if revision is None and any(runs.glob(f"*/{CONFIG}")):  # a misspelt run rather than a user of the Hub
        raise FileNotFoundError(
            f"cannot load {source}: {runs} holds checkpoints, and there is no such folder in it (for a Hub model of "
            "that name give its revision, or start in another folder)"
        )
    return download(source, revision, token)


def shipped_folder(source: str | Path | None) -> Path | None:
    """The folder in the package that a source of `load_pretrained` stands for; None where it stands for another."""
    if source is None:
        return SHIPPED[DEFAULT]
    return SHIPPED.get(source) if isinstance(source, str) and not expanded(source).is_dir() else None


def read_checkpoint(folder: str | Path) -> MTRL:
    """Reads the model in a folder, float32, in evaluation mode, on the CPU.

    Raises FileNotFoundError for missing files, ValueError for files that are damaged, of another program or do not fit.
    """
    folder = Path(folder)

    def expected(config: ModelConfig, shapes: Shapes) -> dict[str, Tensor]:
        return expected_tensors(config, shapes, MTRL)

    config, state = read_files(folder, "checkpoint", parse_settings, expected)
    # Building draws random weights, but must not change the caller's random state.
    with torch.random.fork_rng(devices=[]):
        model = MTRL(config)
    model.load_state_dict(state, strict=True)
    return model.eval()
