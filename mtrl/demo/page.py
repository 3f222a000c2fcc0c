"""The Gradio page around `DemoService`, and its server."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mtrl.demo.server.uploads import UPLOADS, VARIABLE, private_folder

os.environ[VARIABLE] = str(private_folder())  # some parts of Gradio look only when they are imported
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
# Gradio sums up all events so far after each of them, for a dashboard that this page does not have.
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mtrl.demo.html import cards
from mtrl.demo.html.static_files import css, head
from mtrl.demo.server.active_sessions import ActiveSessions
from mtrl.demo.server.agents import answer_agents
from mtrl.demo.server.cleanup import Housekeeping
from mtrl.demo.server.connections import with_limits
from mtrl.demo.server.fair_queue import FairQueue
from mtrl.demo.server.guarded_blocks import GuardedBlocks
from mtrl.demo.server.headers import CompressedText, SecurityPolicy
from mtrl.demo.server.limits import Limits
from mtrl.demo.server.receive import Receiver
from mtrl.demo.server.request_filter import PageAccess, RequestFilter
from mtrl.demo.service import thumbnails
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs import TABS, endpoints
from mtrl.demo.tabs.parts import PageParts, html, open_tab
from mtrl.demo.tabs.people import Detector, People

LIMITS = Limits()
WAITING = 64  # requests in the queue; more are refused
WAITING_EACH = 16  # of one visitor
KEEP = (60, 1700)  # seconds: how often old files are deleted, and how old that is; within half an hour
SESSIONS = 500  # visitors whose choices are remembered; of more, those who came first are forgotten
HEADER = """<header class="m-scope m-head"><div><h1>Find the same person by day and by night</h1>
<p>MTRL compares visible and infrared pictures of people with one small network. It was trained with transition
images, which stand between the two.</p></div>
<div class="m-chain" role="img" aria-label="visible, then transition, then infrared"><span class="m-v">Visible</span>
<i></i><span class="m-t">Transition</span><i></i><span class="m-i">Infrared</span></div></header>"""


def build_page(
    service: DemoService,
    checkpoint: Path | None = None,
    public: bool = False,
    galleries: Sequence[Path] = (),
    listed: Mapping[str, Path] | None = None,
    detector: Detector | None = None,
) -> gr.Blocks:
    """The page over a service. `checkpoint` is the model's folder, for its card; `galleries` are further ones to
    search, `listed` folders of models to try, by name. A `public` page, one that strangers can reach, opens no other
    folder of this machine. A `detector` looks for people in visitors' pictures."""
    models = Models(service, checkpoint, public, listed)
    shelf = Galleries(service, galleries, public)
    people = People(detector)
    private_folder()
    with GuardedBlocks(
        title="MTRL: visible-infrared person re-identification",
        analytics_enabled=False,
    ) as page:
        chosen = gr.State("")  # the source of the model that this visitor works with
        html(HEADER)
        chip = html("", "model-chip", visible=False)
        plane = html(cards.empty("The map is drawn when this tab is opened."), "map", ["map"], render=False)
        with gr.Tabs() as tabs:
            parts = PageParts(models, shelf, chosen, chip, plane, tabs, people)
            for tab in TABS:
                with gr.Tab(tab.label, id=tab.name) as opened:
                    tab.build(parts, opened)
                opened.select(None, js=_in_address(tab.name))
        endpoints.add_encode(service)

        def asked(request: gr.Request) -> Any:
            tab = request.query_params.get("tab")
            return open_tab(tabs, tab) if tab else gr.skip()

        page.load(asked, None, tabs, api_visibility="private", show_progress="hidden")

        def forget(request: gr.Request) -> None:
            UPLOADS.close(request.session_hash)
            people.forget(request.session_hash)

        page.unload(forget)
    # Two at least, so that nobody's long call is the only one that runs.
    page.queue(default_concurrency_limit=max(2, os.cpu_count() or 2), max_size=WAITING)
    return page


def _in_address(tab: str) -> str:
    """JavaScript that notes an opened tab in the browser's address bar, so that Back leads to the tab before.

    The first tab is opened by the page itself, before the one that the address asks for: nobody has touched it then.
    """
    return f"""() => {{
      const said = new URLSearchParams(window.location.search);
      if (!window.mtrlTouched) return;
      if ((said.get('tab') || '{TABS[0].name}') === '{tab}') return;
      said.set('tab', '{tab}');
      window.history.pushState(null, '', '?' + said);
    }}"""


def _show_image(request: Request) -> Response:
    content = thumbnails.jpeg(request.path_params["key"])
    if content is None:
        return Response("no such picture", status_code=404)
    # The address changes with the file.
    return Response(
        content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400, immutable"}
    )


def look() -> gr.themes.Base:
    """Gradio's part of the page's look."""
    # The semi-bold of Gradio's default font lacks most letters, so bold text would fall back to another font.
    font = (gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif")
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.violet,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=font,
    )
    # Gradio's own choices here are too pale to read easily.
    return theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )


def launch(page: gr.Blocks, public: bool = False, **options: Any) -> tuple[Any, str, str]:
    """Starts the server behind the request filter; it contacts no other server.

    A page that is not `public` answers to this machine's names only. `options` go to gradio's launch. Programs that
    speak MCP are answered too where its package is installed.
    """
    folder, sessions = Path(page.GRADIO_CACHE), ActiveSessions()
    UPLOADS.most, UPLOADS.share = LIMITS.stored, LIMITS.share
    receiver = Receiver(folder, LIMITS)
    endpoints = {
        name.strip("/"): {
            p["parameter_name"]: bool(p["parameter_has_default"]) for p in endpoint["parameters"]
        }
        for name, endpoint in page.get_api_info()["named_endpoints"].items()
    }
    below = urlsplit(options.get("root_path") or os.environ.get("GRADIO_ROOT_PATH", "")).path.rstrip("/")
    access = PageAccess(folder, endpoints, frozenset(page.fns), public, LIMITS, sessions, below)
    page._queue = FairQueue(page, sessions, WAITING_EACH if public else None)
    agents = importlib.util.find_spec("mcp") is not None
    if "SPACE_ID" in os.environ:  # which only its proxy reaches, and that names the visitors
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
    wait = not options.pop("prevent_thread_lock", False)
    started: tuple[Any, str, str] = page.launch(
        theme=look(),
        css=css(),
        head=head(),
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size=LIMITS.image,
        state_session_capacity=SESSIONS,
        max_threads=(os.cpu_count() or 2) + 4,  # some wait for a file or a model to come
        app_kwargs={
            "routes": [
                Route(f"/{thumbnails.FOLDER}/{{key}}.jpg", _show_image),
                Route("/gradio_api/upload", receiver.upload, methods=["POST"]),
                Route("/gradio_api/upload_progress", receiver.progress),
            ],
            "middleware": [
                Middleware(RequestFilter, access=access),
                Middleware(CompressedText, compresslevel=5),
                Middleware(SecurityPolicy),
            ],
            "lifespan": Housekeeping(page, receiver, sessions, *KEEP).lifespan,
        },
        mcp_server=agents,
        prevent_thread_lock=True,
        **options,
    )
    if agents:
        answer_agents(page, sessions)
    # Read for every connection, so this holds from the first visitor on.
    page.server.config.http_protocol_class = with_limits(page.server.config.http_protocol_class, LIMITS)
    if wait:
        page.block_thread()
    return started
