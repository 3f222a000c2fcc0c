"""The demo page: `python app.py`, or a Hugging Face Space."""

from __future__ import annotations

import argparse

from mtrl.console import cli


def main() -> int:
    """Parses the arguments, builds the page and serves it until interrupted."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serves the MTRL demo page.")
    parser.add_argument(
        "--checkpoint",
        metavar="SOURCE",
        help='folder, Hub id, or a shipped model: "accurate" (default), "fast"',
    )
    parser.add_argument(
        "--gallery",
        metavar="DIR",
        action="append",
        default=[],
        help="folder of people to search, or an index of one; may be given again (default: the shipped one)",
    )
    parser.add_argument(
        "--models",
        metavar="DIR",
        action="append",
        default=[],
        help="folder of training runs, which the page lists as models to try; may be given again",
    )
    parser.add_argument(
        "--detector",
        metavar="SOURCE",
        help="find the people in visitors' pictures with this detector (folder or Hub id; default: none)",
    )
    parser.add_argument("--host", help="address to listen on (default: this machine only; 0.0.0.0 for all)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860 on)")
    parser.add_argument("--share", action="store_true", help="also open a public link through gradio.live")
    parser.add_argument(
        "--public",
        action="store_true",
        help="others reach the page through a proxy: open no folder that a visitor names",
    )
    arguments = cli.arguments(parser)

    from mtrl.demo.launch import serve

    return serve(
        arguments.checkpoint,
        arguments.gallery,
        arguments.host,
        arguments.port,
        arguments.share,
        arguments.public,
        arguments.models,
        arguments.detector,
    )


if __name__ == "__main__":
    cli.run(main)
