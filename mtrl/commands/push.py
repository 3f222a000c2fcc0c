"""`python -m mtrl push CHECKPOINT user/repo`: a checkpoint to the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtrl.checkpoint import read_checkpoint
from mtrl.hub import upload_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Checks a checkpoint and uploads its configuration, weights and card, nothing else of its folder. "
        "Log in with `hf auth login` first, or set HF_TOKEN."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="folder that training wrote")
    parser.add_argument("repo", metavar="USER/REPO", help="repository on the Hub, made if need be")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--revision", default=None, help="branch to upload to, made if need be (default: main)"
    )
    parser.add_argument("--message", default="Upload model", help="commit message (default: Upload model)")


def main(args: argparse.Namespace) -> int:
    """Uploads and prints the commit's address. Raises ValueError or OSError."""
    read_checkpoint(args.checkpoint)
    address = upload_folder(
        args.checkpoint,
        args.repo,
        private=args.private or None,
        revision=args.revision,
        commit_message=args.message,
    )
    print(address)
    return 0
