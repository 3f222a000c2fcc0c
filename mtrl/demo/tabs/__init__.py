"""The tabs of the page, in their order: a tab is a file of this folder and an entry of `TABS`."""

from __future__ import annotations

from mtrl.demo.tabs import about, explore, model, retrieve, transition
from mtrl.demo.tabs.parts import Tab

TABS = (
    Tab("retrieve", "Retrieve", retrieve.build),
    Tab("transition", "Transition", transition.build),
    Tab("explore", "Explore", explore.build),
    Tab("model", "Model", model.build),
    Tab("about", "About", about.build),
)
