"""`python -m mtrl COMMAND ...`: everything but training and evaluation."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from mtrl.console.cli import arguments, run

COMMANDS = {
    "synth": "draw the synthetic data set; contact sheets, exports, the demo gallery",
    "translate": "turn visible images into transition images",
    "crops": "cut the people out of a video, as a tracker found them",
    "index": "encode images into a gallery: files, faiss or Milvus",
    "search": "search a gallery with query images",
    "serve": "a service over HTTP: encode, search, add, delete",
    "export": "write a model as ONNX",
    "verify": "check a downloaded data set",
    "push": "publish a checkpoint on the Hugging Face Hub",
    "encode": "write the features of images to a file",
    "bench": "measure speed and memory (in a clone: the same as python -m train bench)",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; only that command's module is imported."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help") or argv[0] not in COMMANDS:
        lines = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
        print(f"usage: python -m mtrl COMMAND [options]\n\ncommands (each with -h):\n{lines}",
              file=sys.stdout if argv and argv[0] in ("-h", "--help") else sys.stderr)  # fmt: skip
        if argv and argv[0] in ("-h", "--help"):
            return 0
        raise ValueError(f"unknown command {argv[0]!r}" if argv else "a command is missing")
    name = argv[0]
    if name == "bench":
        return _bench(argv[1:])
    try:
        module = importlib.import_module(f"mtrl.commands.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"mtrl.commands.{name}":
            raise
        raise ValueError(f"the command {name!r} is not part of this version") from error
    parser = argparse.ArgumentParser(prog=f"python -m mtrl {name}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.main(arguments(parser, argv[1:])) or 0)


def _bench(argv: list[str]) -> int:
    """The benchmarks measure training and evaluation too, so they live in the repository, above this package."""
    if importlib.util.find_spec("train") is None or importlib.util.find_spec("train.bench") is None:
        raise ValueError(
            "the benchmarks are not part of the installed package: run this in a clone of the repository"
        )
    return subprocess.run([sys.executable, "-m", "train", "bench", *argv]).returncode


if __name__ == "__main__":
    run(main)
