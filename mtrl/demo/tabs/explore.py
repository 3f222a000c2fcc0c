"""The Explore tab: the gallery as a map of embeddings, and a benchmark of one or two models on it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mtrl.demo.html import cards
from mtrl.demo.html.cmc_curves import benchmark_html
from mtrl.demo.html.explore_view import map_html
from mtrl.demo.service.benchmark import benchmark
from mtrl.demo.service.embedding_map import EmbeddingMap, make_map
from mtrl.demo.service.models import Models
from mtrl.demo.tabs.parts import PRIVATE, WAIT, PageParts, PerService, ask, html, telling


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events. The map is drawn when the tab is opened."""
    models, chosen, home = page.models, page.chosen, page.models.home.service
    maps: PerService[EmbeddingMap] = PerService()  # by translator
    html(
        '<div class="m-scope"><h2>How the model sees this gallery</h2><p class="m-mute">Every picture becomes a point; '
        "pictures of one person should lie together, whatever the spectrum.</p></div>"
    )
    translator = gr.Radio(
        list(home.translators),
        value=next(
            iter(home.translators)
        ),  # the quickest: the map needs a transition of each visible picture
        label="Transition images by",
        elem_id="map-translator",
        visible=len(home.translators) > 1,
    )
    page.map.render()
    page.map.click(lambda: gr.Tabs(selected="retrieve"), None, page.tabs, **PRIVATE)
    _benchmark(models, chosen)

    drawn = gr.State(("", ""))  # what this visitor's map shows, so that it is not sent again

    def draw(
        translator: str,
        source: str,
        before: tuple[str, str],
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, tuple[str, str]]:
        if (wanted := (translator, source)) == tuple(before):
            return gr.skip(), wanted
        service = ask(lambda: models.service(source))
        try:
            drawn = maps.get(service, lambda: make_map(service, translator, telling(progress)), translator)
            return map_html(drawn), wanted
        except (ValueError, OSError, ImportError) as problem:
            return cards.empty(f"There is no map of this gallery: {problem}"), wanted

    gr.on([tab.select, translator.input], draw, [translator, chosen, drawn], [page.map, drawn], **WAIT)


def _benchmark(models: Models, chosen: gr.State) -> None:
    html(
        '<div class="m-scope m-section"><h2>Benchmark on this gallery</h2><p class="m-mute">How often is the right '
        "person among the first results? A second model can be measured beside the one in use.</p></div>"
    )
    with gr.Row(equal_height=True, elem_classes="m-form"):
        other = gr.Textbox(
            label="Second model (may stay empty)",
            placeholder="user/repo on the Hugging Face Hub"
            if models.public
            else "folder of a checkpoint, or user/repo",
            elem_id="second-model",
            max_lines=1,
            scale=4,
        )
        run = gr.Button("Run the benchmark", variant="primary", elem_id="run-benchmark", scale=1)
    result = html("", elem_id="benchmark")

    def score(other: str, source: str, progress: gr.Progress = gr.Progress()) -> str:  # noqa: B008
        try:
            first = models.get(source, telling(progress))
            runs = [benchmark(first.service, first.name)]
            if other.strip() and other.strip() != source:
                second = models.get(other, telling(progress))
                runs.append(benchmark(second.service, second.name))
            return benchmark_html(runs)
        except (ValueError, OSError) as problem:
            return cards.error(str(problem), "This benchmark cannot be run")

    gr.on([run.click, other.submit], score, [other, chosen], result, **WAIT)
