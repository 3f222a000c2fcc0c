"""The commands of `python -m mtrl`: one module each, with `add_arguments(parser)` and `main(args) -> int`."""
