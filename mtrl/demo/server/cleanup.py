"""Deletes old uploads and Gradio's state of sessions that have ended, while the page runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState

from mtrl.demo.server.active_sessions import ActiveSessions
from mtrl.demo.server.receive import Receiver
from mtrl.demo.server.uploads import UPLOADS, sweep

ROUND = 1.0  # seconds between two looks at the sessions
GRACE = 5.0  # a session without a page open is forgotten after this
CHOICE = 600.0  # one that has chosen a model: its page may come back when a phone wakes up
UNFETCHED = 120.0  # an answer that nobody has fetched


class Housekeeping:
    """The clock of a page. `every` and `age` in seconds: how often files are looked at, and how old they get."""

    def __init__(
        self, page: gr.Blocks, receiver: Receiver, sessions: ActiveSessions, every: float, age: float
    ) -> None:
        self._page, self._receiver, self._sessions = page, receiver, sessions
        self._every, self._age = every, age
        self._unfetched: dict[str, float] = {}
        self._emptied: set[str] = set()

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Runs beside the server; at its end all files of visitors are deleted."""
        tasks = [asyncio.create_task(self._repeat(self.sessions, ROUND))]
        tasks.append(asyncio.create_task(self._repeat(self.files, self._every)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            sweep(self._receiver.folder, -1.0, self._kept())

    async def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            with contextlib.suppress(RuntimeError):  # a set changed while it was read; next time
                work()

    def files(self) -> None:
        """Deletes old files, and Gradio's notes of files that are gone."""
        left, _ = sweep(self._receiver.folder, self._age, self._kept())
        names = {str(path) for path in left}
        for noted in self._page.temp_file_sets:
            noted &= names
        UPLOADS.forget_lost()

    def _kept(self) -> set[Path]:
        return {Path(path) for block in self._page.blocks.values() for path in block.keep_in_cache}

    def sessions(self) -> None:
        """Forgets sessions without an open page. Gradio itself keeps 10,000 of them, 0.1 MB and more each."""
        holder, queue = self._page.app.state_holder, self._page._queue
        now, clock = datetime.now(), time.monotonic()
        for session, state in list(holder.session_data.items()):
            idle = (now - holder.time_last_used.get(session, now)).total_seconds()
            fetched = session in self._sessions.over or not queue.pending_event_ids_session.get(session)
            keep_for = CHOICE if any(state.state_data.values()) else 0.0 if fetched else GRACE
            if self._here(session, queue):
                self._emptied.discard(session)
            elif idle >= keep_for:
                holder.session_data.pop(session, None)
                holder.time_last_used.pop(session, None)
                UPLOADS.close(session)
                self._emptied.discard(session)
                self._unfetched[session] = clock - UNFETCHED * fetched
            elif idle >= GRACE and session not in self._emptied:
                # Gradio's notes hold what was shown, images too; of a page that is closed the choice is enough.
                holder.session_data[session] = self._only_choices(state)
                self._emptied.add(session)
        for session, since in list(self._unfetched.items()):
            if self._here(session, queue) or session in holder.session_data:
                del self._unfetched[session]
            elif clock - since >= UNFETCHED:
                queue.pending_messages_per_session.pop(session, None)
                queue.pending_event_ids_session.pop(session, None)
                del self._unfetched[session]
        self._sessions.over.clear()

    def _only_choices(self, state: SessionState) -> SessionState:
        empty = SessionState(self._page)
        empty.state_data = state.state_data
        return empty

    def _here(self, session: str, queue: Any) -> bool:
        """Whether the session has its page open, or waits for an answer."""
        events = queue.pending_event_ids_session.get(session, ())
        return session in self._sessions.open or any(event in queue.event_ids_to_events for event in events)
