"""`python -m mtrl serve --index IDX`: a service over HTTP that encodes, searches, adds and deletes."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from mtrl.commands.options import add_checkpoint_options
from mtrl.models.load import load_pretrained
from mtrl.retrieval.stores.base import COLLECTION
from mtrl.retrieval.stores.factory import open_store

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Serves a model and an index over HTTP: GET /healthz, /v1/model, /metrics, /openapi.json; POST /v1/encode, "
        "/v1/search, /v1/add, /v1/delete, with files or with JSON. One JSON line per request on stderr."
    )
    parser.add_argument(
        "--index", metavar="IDX", required=True, help="folder that `index` wrote, or a Milvus address"
    )
    parser.add_argument(
        "--collection", default=COLLECTION, help=f"name within Milvus (default: {COLLECTION})"
    )
    add_checkpoint_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument(
        "--token-file",
        metavar="F",
        type=Path,
        help="tokens, one a line; needed where others can reach the service",
    )
    parser.add_argument(
        "--images-per-minute", metavar="N", type=int, default=0, help="quota of a token (default: none)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="most images of a batch (default: 64)")
    parser.add_argument("--quiet", action="store_true", help="no line per request")


def main(args: argparse.Namespace) -> int:
    """Serves until interrupted or told to end. Raises ValueError or OSError for wrong input."""
    try:
        import uvicorn

        from mtrl.commands.service.access import Access, read_tokens
        from mtrl.commands.service.app import make_app
        from mtrl.commands.service.engine import Engine
        from mtrl.commands.service.run import check_port, server_settings
        from mtrl.commands.service.telemetry import Telemetry
    except ImportError as error:
        packages = "fastapi uvicorn python-multipart prometheus-client"
        raise ImportError(f"the service needs more packages: pip install {packages} ({error})") from error
    if args.batch_size < 1 or args.images_per_minute < 0 or not 0 <= args.port < 65536:
        raise ValueError("--batch-size is at least 1, --images-per-minute at least 0, --port below 65536")
    tokens = read_tokens(args.token_file) if args.token_file else ()
    if not tokens and args.host not in LOOPBACK:
        raise ValueError(f"others can reach {args.host}: give --token-file FILE, with a token on each line")
    check_port(args.host, args.port)
    # SIGTERM is a normal end, before, while and after uvicorn, which sends it again when it has ended, takes it.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        store = open_store(args.index, args.collection)
        try:
            model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
            engine = Engine(model, store, Telemetry(None if args.quiet else sys.stderr), args.batch_size)
            app = make_app(engine, Access(tokens, args.images_per_minute))
            check_port(args.host, args.port)  # taken meanwhile? uvicorn would end with 1
            uvicorn.Server(server_settings(app, args.host, args.port)).run()
        finally:
            store.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _end(*_: object) -> None:
    raise SystemExit(0)
