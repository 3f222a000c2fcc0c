"""`python -m tests.load.tracks --data-root DIR`: pooling of tracks on the real clips, both ways (docs/video.md).

The first 40 % of a person's frames are gallery, the last 40 % queries, of the three clips that have boxes together.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from eval.queries.tracks import main as score
from mtrl.__main__ import main as command
from tests.helpers.real_clips import clips_folder, write_boxes

PARTS = {"gallery": (0.0, 0.4), "query": (0.6, 1.0)}
KINDS = ("visible", "infrared")


def main() -> None:
    clips = clips_folder("tests.load.tracks", __doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, share in PARTS.items():
            (folder / part).mkdir()
            boxes = write_boxes(folder / part, share)
            for kind in KINDS:
                crops = folder / f"{part} {kind}"
                for clip, file in boxes.items():
                    command(
                        [
                            "crops",
                            str(clips / kind / f"{clip}.mp4"),
                            "--boxes",
                            str(file),
                            "--output",
                            str(crops / clip),
                        ]
                    )
                index = [
                    "index",
                    str(crops),
                    "--output",
                    f"{crops} index",
                    "--identities",
                    "folder",
                    "--tracks",
                ]
                command(index)
        for query, gallery in (KINDS, KINDS[::-1]):
            print(f"{query} queries, {gallery} gallery")
            score([str(folder / f"query {query} index"), str(folder / f"gallery {gallery} index")])


if __name__ == "__main__":
    main()
