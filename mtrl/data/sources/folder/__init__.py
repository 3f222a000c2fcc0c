"""A user's own images, in folders or listed in a table."""

from mtrl.data.sources.folder.load import load
from mtrl.data.sources.folder.verify import verify
from mtrl.data.sources.source import Source

SOURCE = Source(load, "regdb", verify, value_range=True, training={"": {"pretrained": True, "eval_every": 5}})
