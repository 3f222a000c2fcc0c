"""The queue of calls, shared fairly: a place and a turn for every visitor, none for calls that nobody waits for."""

from __future__ import annotations

import time
from typing import Any

from gradio.queueing import Event, EventQueue, Queue
from gradio.server_messages import ProcessCompletedMessage

from mtrl.demo.server.active_sessions import ActiveSessions
from mtrl.demo.server.request_origin import visitor_at

PATIENCE = 5.0  # seconds that a call waits without anybody who listens for its answer
_REMEMBERED = 1000  # visitors whose last turn is known


class FairQueue(Queue):
    """Gradio's queue of a page, in which visitors take turns.

    On a page that others can reach, one call of a visitor runs at a time and `each` of them wait; whoever was served
    longest ago is next. On a page of one's own the calls come in their order. Calls whose sender has gone are dropped.
    """

    def __init__(self, blocks: Any, sessions: ActiveSessions, each: int | None) -> None:
        """Takes the place of the queue of `blocks`, with its settings. `each` is None for a page of one's own."""
        old = blocks._queue
        super().__init__(
            old.live_updates,
            old.max_thread_count,
            old.update_intervals,
            old.max_size,
            blocks,
            old.default_concurrency_limit,
        )
        self.sleep_when_free = 0.005
        self._sessions, self._each = sessions, each
        self._served: dict[str, float] = {}  # visitor -> when the last call began

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        self._drop_abandoned()  # they hold no places
        if self._each is not None:
            mine = _visitor(request)
            if sum(_visitor(event.request) == mine for _, event in self._waiting()) >= self._each:
                return (
                    False,
                    f"{self._each} of your requests wait already: send more when they are answered.",
                    "queue_full",
                )
        return await super().push(body, request, username)

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The call that is next: no page's event is answered in batches."""
        self._drop_abandoned()
        running = {_visitor(event.request) for job in self.active_jobs if job for event in job}
        free = [
            (queue, event)
            for queue, event in self._waiting()
            if (queue.concurrency_limit is None or queue.current_concurrency < queue.concurrency_limit)
            and (self._each is None or _visitor(event.request) not in running)
        ]
        if not free:
            return None
        queue, event = min(free, key=self._turn)
        queue.queue.remove(event)
        visitor = _visitor(event.request)
        self._served.pop(visitor, None)
        self._served[visitor] = time.monotonic()
        while len(self._served) > _REMEMBERED:
            del self._served[next(iter(self._served))]
        return [event], False, queue.concurrency_id

    def _turn(self, waiting: tuple[EventQueue, Event]) -> tuple[float, float]:
        event = waiting[1]
        served = 0.0 if self._each is None else self._served.get(_visitor(event.request), 0.0)
        return served, event.enqueue_time

    def _waiting(self) -> list[tuple[EventQueue, Event]]:
        queues = self.event_queue_per_concurrency_id.values()
        return [(queue, event) for queue in queues for event in queue.queue]

    def _drop_abandoned(self) -> None:
        """Ends calls for whose answer nobody listens any more, or ever did."""
        now = time.monotonic()
        for queue, event in self._waiting():
            heard = self._sessions.listening[event.session_hash] or self._sessions.listening[event._id]
            if not heard and now - event.enqueue_time > PATIENCE:
                queue.queue.remove(event)
                self.event_ids_to_events.pop(event._id, None)
                said = f"Nobody asked for this answer within {PATIENCE:.0f} seconds while the call waited."
                if event.session_hash in self.pending_messages_per_session:
                    self.send_message(event, ProcessCompletedMessage(output={"error": said}, success=False))


def _visitor(request: Any) -> str:
    return visitor_at(request.client.host if request.client else None)
