"""The router's side of one connection to an endpoint: HTTP/1.1, one answer at a time, bodies as they come.

An answer's bytes are handed over as soon as they are there, those of a stream without a task that would have
to be woken for each piece; what nobody takes is not read from the socket either. Runs in the router's event
loop.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from octavo.core.channel import Ticket
from octavo.core.relay import CHANNEL_HEADER
from octavo.http.headers import Header, Headers
from octavo.http.silence import limit_silence
from octavo.router.channel import Channel

MAX_BUFFERED_BYTES = 1 << 18  # of one answer, before its connection is read no more


class UpstreamError(Exception):
    """The endpoint did not answer, or not to the end. reason: connect, cut, timeout, garbage, gone."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Answer:
    """One response. Read it or pass it on to its end, or close(); whoever holds it must do one of the two."""

    def __init__(self, connection: "Connection", status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    def header(self, name: bytes) -> bytes:
        """The first value; names are in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    @property
    def is_event_stream(self) -> bool:
        return self.header(b"content-type")[:17] == b"text/event-stream"

    @property
    def is_json(self) -> bool:
        return self.header(b"content-type").startswith(b"application/json")

    @property
    def ended_with_connection(self) -> bool:
        """It did not say where it ends, so whatever ended the connection has ended it."""
        return self._connection.ended_answer

    async def read(self, seconds: float) -> bytes:
        """All that has come since the last call, or the next that comes; b"" at the end.

        Raises UpstreamError: the answer was cut off, or nothing came for seconds.
        """
        return await self._connection.read(seconds)

    async def pass_on(self, take: Callable[[bytes], bool], seconds: float) -> bool:
        """Give take what has come, and what comes as it comes, until take says False: that is enough for now.

        Then True; False at the end. Raises what take raises; UpstreamError: the answer was cut off, or
        nothing came for seconds.
        """
        return await self._connection.pass_on(take, seconds)

    async def read_all(self, seconds: float, max_bytes: int) -> bytes:
        """The rest of the body. Raises UpstreamError, also for one that is longer."""
        pieces, size = [], 0
        while piece := await self.read(seconds):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                self.close()
                raise UpstreamError("garbage", f"the answer is longer than {max_bytes} bytes")
        return b"".join(pieces)

    @property
    def is_whole(self) -> bool:
        """All of it has come, and nothing has been read."""
        return self._connection.is_complete

    def read_whole(self) -> bytes:
        """The body of one that is whole."""
        body = self._connection.pull()
        self._connection.release()
        return body

    def close(self) -> None:
        """What has not been read is not wanted: the endpoint sees the connection end. Idempotent."""
        self._connection.release()


class Connection(asyncio.Protocol):
    """One answer at a time; _keep takes it back when an answer has ended as it should.

    Of a stream that comes by a channel, what comes there is first; then what the connection's own body has.
    The answer is complete when both have ended, whichever does first.
    """

    __slots__ = (  # see AnswerOutlet's
        "_channel", "_error", "_has_head", "_has_own_end", "_headers", "_heard", "_is_kept", "_keep",
        "_later", "_loop", "_may_keep", "_num_buffered", "_parser", "_pieces", "_seconds", "_silence_seconds",
        "_take", "_ticket", "_timer", "_transport", "_waiter", "ended_answer", "is_closed", "is_complete",
        "on_news",
    )  # fmt: skip

    def __init__(self, keep: "Callable[[Connection], None]", silence_seconds: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep = keep
        self._silence_seconds = silence_seconds
        self._transport: asyncio.Transport | None = None
        self.is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0  # on the loop's clock: the question's end, or the last sign of life
        self._seconds = 0.0  # allowed until the next
        self._waiter: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)  # of one answer after another
        self._reset()

    def _reset(self) -> None:
        self._headers: list[Header] = []
        self._has_head = False
        self._pieces: list[bytes] | None = None  # what has come and has not been read
        self._later: list[bytes] = []  # of its own body, while more may come by the channel
        self._num_buffered = 0  # of its own body
        self._channel: Channel | None = None  # None: nothing more comes by one
        self._ticket: Ticket | None = None
        self._has_own_end = False
        self.is_complete = False
        self.ended_answer = False  # the answer ended because the connection did
        self._is_kept = False
        self.on_news: Callable[[], None] | None = None  # in place of who would wait for answer(); called once
        self._may_keep = False  # the answer has ended, and says that the connection has not
        self._take: Callable[[bytes], bool] | None = None  # of who is passed on to, and wants more
        self._error: Exception | None = None

    # Used by Upstream and Answer

    def begin(self, channel: Channel | None) -> Ticket | None:
        """For the next question: by the channel its answer may come."""
        self._reset()
        if channel is not None:
            self._channel, self._ticket = channel, channel.open(self)
        return self._ticket

    def send(self, data: bytes, seconds: float) -> None:
        """seconds: from now on, and from each sign of life, to the next, until the answer is read."""
        assert self._transport is not None
        self._transport.write(data)
        self._expect(seconds)

    @property
    def has_news(self) -> bool:
        """The answer's head is there, or none will come: answer() does not wait."""
        return self._has_head or self._error is not None

    @property
    def whole_answer(self) -> "Answer | None":
        """None: it is not whole, or nothing says that it is."""
        if not self.is_complete or self.ended_answer or self._error is not None:
            return None
        return Answer(self, self._parser.get_status_code(), self._headers)

    async def answer(self) -> Answer:
        """Raises UpstreamError, or what it was interrupted with."""
        self.on_news = None
        try:
            while not self._has_head:
                await self._wait(self._seconds)
        except BaseException:
            self.abort()
            raise
        return Answer(self, self._parser.get_status_code(), self._headers)

    async def read(self, seconds: float) -> bytes:
        while self._pieces is None:
            if self.is_complete:
                self.release()
                return b""
            await self._wait(seconds)
        return self.pull()

    async def pass_on(self, take: Callable[[bytes], bool], seconds: float) -> bool:
        while True:
            if self._pieces is not None and not take(self.pull()):
                return True
            if self.is_complete:
                self.release()
                return False
            self._take = take
            try:
                await self._wait(seconds)
            finally:
                has_enough, self._take = self._take is None, None
            if has_enough:
                return True

    def pull(self) -> bytes:
        """What has come since the last time."""
        pieces, self._pieces = self._pieces or (), None
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._later:
            if self._num_buffered > MAX_BUFFERED_BYTES and self._transport is not None:
                self._transport.resume_reading()
            self._num_buffered = 0
        return data

    async def _wait(self, seconds: float) -> None:
        """For anything to happen. One timer serves all waits on the connection: most end long before it."""
        if self._error is not None:
            raise self._error
        self._expect(seconds)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None:
            raise self._error

    def _expect(self, seconds: float) -> None:
        """Something is to happen so soon."""
        self._heard, self._seconds = self._loop.time(), seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()

    @property
    def _deadline(self) -> float:
        return self._heard + self._seconds

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None and self.on_news is None:
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self.fail(UpstreamError("timeout", "nothing came within the time allowed"))

    def interrupt(self, error: Exception) -> None:
        """Whoever waits for the answer, or for more of it, hears of this instead."""
        self.fail(error)

    def fail(self, error: Exception) -> None:
        if self.is_complete and self._has_head:
            return
        self._error = self._error or error
        self.abort()
        self._wake()

    def release(self) -> None:
        self._leave_channel()
        if self._is_kept or self.is_closed:
            return
        if self._may_keep and self._pieces is None:
            self._is_kept = True
            self._keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        self.is_closed = True
        self._stop_timer()
        self._leave_channel()
        if self._transport is not None:
            self._transport.abort()

    def _leave_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and self._ticket is not None:
            channel.close(self._ticket)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self.on_news is not None and self.has_news:
            on_news, self.on_news = self.on_news, None
            on_news()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        limit_silence(transport.get_extra_info("socket"), self._silence_seconds)

    def data_received(self, data: bytes) -> None:
        if self._is_kept:  # nobody asked anything
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(UpstreamError("garbage", f"what came is not HTTP: {error}"))
            return
        self._tell()

    def _tell(self) -> None:
        """Whoever waits, that something has happened, unless it was passed on to him."""
        if self._take is None or self.is_complete:
            self._wake()

    def _give(self, take: Callable[[bytes], bool], data: bytes, now: float) -> bool:
        """Returns whether more is wanted."""
        self._heard = now
        try:
            if take(data):
                return True
        except Exception as error:  # whoever waits is to hear of it, not the event loop
            self.fail(error)
        self._take = None
        self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        is_until_close = self._has_head and not self.is_complete and not self._is_framed()
        self.is_closed = True
        self._stop_timer()
        if is_until_close and error is None:
            self.is_complete = self.ended_answer = True
        elif not self._has_own_end and self._error is None:
            self._error = UpstreamError("cut", "the connection was cut off")
            self._leave_channel()
        self._wake()

    def _is_framed(self) -> bool:
        """Whether the answer says itself where it ends."""
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue and the like: not the answer
            self._headers = []
        else:
            self._has_head = True
            if self._channel is not None and all(name != CHANNEL_HEADER for name, _ in self._headers):
                self._leave_channel()

    def on_body(self, body: bytes) -> None:
        take = self._take
        if self._channel is not None:
            self._later.append(body)
        elif take is not None:  # who has taken all that came before
            self._give(take, body, self._loop.time())
            return
        else:
            self._add(body)
        self._num_buffered += len(body)
        if self._num_buffered > MAX_BUFFERED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._has_head:
            self._has_own_end = True
            self.is_complete = self._channel is None
            self._may_keep = bool(self._parser.should_keep_alive())

    # Called by the channel

    def on_piece(self, data: bytes, now: float) -> bool:
        take = self._take
        if data and take is not None:
            return self._give(take, data, now)
        if data:
            self._add(data)
        else:
            self._end_of_channel(now)
        self._tell()
        return False

    def _end_of_channel(self, now: float) -> None:
        self._leave_channel()
        later, self._later = self._later, []
        for piece in later:
            if self._take is not None:
                self._give(self._take, piece, now)
            else:
                self._add(piece)
        self.is_complete = self._has_own_end

    def _add(self, piece: bytes) -> None:
        if self._pieces is None:
            self._pieces = [piece]
        else:
            self._pieces.append(piece)
