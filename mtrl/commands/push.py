"""`python -m mtrl push FOLDER user/repo`: a checkpoint or a translator to the Hugging Face Hub; `--space`: the page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mtrl.hub.client import CARD, CONFIG, upload_files, upload_folder
from mtrl.hub.space import page_commit, space_files
from mtrl.models.checkpoint.checks import FORMAT
from mtrl.models.load import SOURCE_HELP, find_checkpoint, read_checkpoint
from mtrl.translate import load_translator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Checks a checkpoint or a translator and uploads its configuration, weights and card, nothing else of its "
        "folder. With --space it uploads the page instead, as it runs here. Log in with `hf auth login` first, or "
        "set HF_TOKEN."
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, nargs="?", help="what training or publish wrote"
    )
    parser.add_argument("repo", metavar="USER/REPO", nargs="?", help="repository on the Hub, made if need be")
    parser.add_argument("--private", action="store_true", help="make a new repository or Space private")
    parser.add_argument(
        "--revision", default=None, help="branch to upload to, made if need be (default: main)"
    )
    parser.add_argument("--tag", default=None, help="name of this version, for load_pretrained(revision=...)")
    parser.add_argument("--message", default=None, help="commit message")
    parser.add_argument(
        "--space", metavar="USER/SPACE", default=None, help="upload the page of this clone as a Gradio Space"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="SOURCE",
        default=None,
        help=f"with --space: the model of the page: {SOURCE_HELP}",
    )


def main(args: argparse.Namespace) -> int:
    """Uploads and prints the commit's address. Raises ValueError or OSError."""
    if args.space:
        if args.folder or args.repo or args.revision or args.tag:
            raise ValueError(
                "--space uploads the page: give it --checkpoint, --private and --message, nothing else"
            )
        print(push_space(args.space, args.checkpoint, args.private or None, args.message))
        return 0
    if not (args.folder and args.repo) or args.checkpoint:
        raise ValueError(
            "push takes a folder and a repository: python -m mtrl push FOLDER USER/REPO, or --space USER/SPACE"
        )
    print(push_folder(args))
    return 0


def push_folder(args: argparse.Namespace) -> str:
    """A checkpoint, or a translator. What cannot be loaded is refused; a checkpoint without a card gets a plain one."""
    private = args.private or None
    if not _is_model(args.folder):
        load_translator(args.folder)
    else:
        model = read_checkpoint(args.folder)
        if not (args.folder / CARD).is_file():
            return model.push_to_hub(
                args.repo,
                private=private,
                revision=args.revision,
                tag=args.tag,
                commit_message=args.message or "Upload model",
            )
    return upload_folder(
        args.folder,
        args.repo,
        private=private,
        revision=args.revision,
        tag=args.tag,
        commit_message=args.message or f"Upload {args.folder.resolve().name}",
    )


def push_space(repo_id: str, checkpoint: str | None, private: bool | None, message: str | None) -> str:
    """The page with its model as a Space that holds nothing else."""
    folder = find_checkpoint(checkpoint)
    read_checkpoint(folder)
    files = space_files(None if checkpoint is None else folder)
    commit = page_commit()
    state = f"commit {commit[:12]}" if commit else "no Git checkout"
    return upload_files(
        files,
        repo_id,
        kind="space",
        private=private,
        commit_message=message or f"Upload the page of {state}",
        mirror=True,
    )


def _is_model(folder: Path) -> bool:
    """Whether the configuration is a model's, or none at all (then reading it says what is missing)."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return not isinstance(values, dict) or values.get("format") == FORMAT
