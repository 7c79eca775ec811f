"""Bounded channels in virtual time.

What trio's memory channels are, with a latency: a value sent at t can be received from
t + latency on, in the order sent. They implement trio's `SendChannel` and `ReceiveChannel`.

Interface: `open_channel(clock, capacity, latency_ns=…, name=…)`. `send` waits while `capacity`
values are buffered or under way, `send_nowait` raises `trio.WouldBlock` instead; `receive` waits
for a value and raises `trio.EndOfChannel` after the sender closed and the last value was taken.
Units: ns.
"""

from collections import deque
from typing import Generic, TypeVar

import attrs
import trio

from kernelsim.sim.clock import VirtualClock
from kernelsim.sim.wait import Waiter, forget

T = TypeVar("T")


@attrs.frozen
class ChannelStatistics:
    """What an outsider may know of a channel.

    Attributes:
        nr_sent: Values accepted from senders.
        nr_received: Values taken by receivers.
        nr_buffered: Values that arrived and were not taken yet.
        nr_under_way: Values sent and not arrived.
        nr_senders_waiting: Tasks waiting for room.
        nr_receivers_waiting: Tasks waiting for a value.
    """

    nr_sent: int
    nr_received: int
    nr_buffered: int
    nr_under_way: int
    nr_senders_waiting: int
    nr_receivers_waiting: int


class Channel(Generic[T]):
    """The state both ends share. A value that arrives goes to the receiver that waits longest."""

    __slots__ = (
        "arrived", "capacity", "clock", "is_receiver_closed", "is_sender_closed", "latency_ns",
        "name", "nr_received", "nr_sent", "receivers", "senders", "under_way", "why_receive",
        "why_send",
    )  # fmt: skip

    def __init__(self, clock: VirtualClock, capacity: int, latency_ns: int, name: str) -> None:
        if capacity < 1:
            raise ValueError(f"capacity(={capacity}) of channel {name} must be >= 1")
        if latency_ns < 0:
            raise ValueError(f"latency_ns(={latency_ns}) of channel {name} must be >= 0")
        self.clock = clock
        self.capacity = capacity
        self.latency_ns = latency_ns
        self.name = name
        self.arrived: deque[T] = deque()
        self.under_way: deque[T] = deque()
        self.receivers: deque[Waiter] = deque()
        self.senders: deque[tuple[Waiter, T]] = deque()
        self.is_sender_closed = self.is_receiver_closed = False
        self.nr_sent = self.nr_received = 0
        self.why_receive = ("message on", name)
        self.why_send = ("room in", name)

    def send_nowait(self, value: T) -> None:
        """Send without waiting.

        Raises:
            trio.WouldBlock: The channel is full.
            trio.BrokenResourceError: The receiving end is closed.
            trio.ClosedResourceError: This end is closed.
        """
        if self.receivers and not self.latency_ns:  # a receiver waits, so it is not closed or full
            clock = self.clock
            if clock.wake(self.receivers.popleft(), clock.now_ns, value):
                self.nr_sent += 1
                self.nr_received += 1
                if self.senders:
                    self._admit()
                return
        if self.is_sender_closed:
            raise trio.ClosedResourceError
        if self.is_receiver_closed:
            raise trio.BrokenResourceError
        if len(self.arrived) + len(self.under_way) >= self.capacity:
            raise trio.WouldBlock
        self._put(value)

    def hand_over(self, value: T) -> None:
        """Send to the first receiver that waits, which goes on in the event that is being done."""
        self.nr_sent += 1
        self.nr_received += 1
        self.clock.resume(self.receivers.popleft(), value)

    async def send(self, value: T) -> None:
        """Send, waiting for room if need be. Raises as `send_nowait` but for WouldBlock."""
        is_full = len(self.arrived) + len(self.under_way) >= self.capacity
        if not is_full or self.is_sender_closed or self.is_receiver_closed:
            self.send_nowait(value)
            return
        waiter = self.clock.open_wait(self.why_send)
        self.senders.append((waiter, value))
        try:
            await self.clock.wait(waiter)
        except BaseException:
            self._forget_sender(waiter)
            raise

    def receive_nowait(self) -> T:
        """Take a value that has arrived.

        Raises:
            trio.WouldBlock: None has.
            trio.EndOfChannel: None ever will.
            trio.ClosedResourceError: This end is closed.
        """
        if self.is_receiver_closed:
            raise trio.ClosedResourceError
        if self.arrived:
            value = self.arrived.popleft()
            self.nr_received += 1
            if self.senders:
                self._admit()
            return value
        if self._is_at_end():
            raise trio.EndOfChannel
        raise trio.WouldBlock

    async def receive(self) -> T:
        """Take the next value, waiting for it if need be. Raises as `receive_nowait`."""
        if self.arrived or self.is_receiver_closed or self._is_at_end():
            return self.receive_nowait()
        waiter = self.open_receive()
        try:
            value: T = await self.clock.wait(waiter)
        except BaseException:
            forget(self.receivers, waiter)
            raise
        return value

    def open_receive(self) -> Waiter:
        """Begin to wait for the next value; none has arrived."""
        waiter = self.clock.open_wait(self.why_receive)
        self.receivers.append(waiter)
        return waiter

    def wait_again(self, receiver: Waiter) -> None:
        """Let a receiver that was passed over be the first to get the next value."""
        self.receivers.appendleft(receiver)
        if self.arrived:
            self._arrive(self.arrived.popleft())

    def close_sender(self) -> None:
        """No more values: receivers get EndOfChannel once the last one is taken."""
        self.is_sender_closed = True
        while self.senders:
            self._fail(self.senders.popleft()[0], trio.ClosedResourceError())
        self._end_receivers()

    def close_receiver(self) -> list[T]:
        """Close the receiving end: senders get BrokenResourceError. Return what is left."""
        self.is_receiver_closed = True
        left = [*self.arrived, *self.under_way, *(value for _, value in self.senders)]
        self.arrived.clear()
        self.under_way.clear()
        while self.senders:
            self._fail(self.senders.popleft()[0], trio.BrokenResourceError())
        while self.receivers:
            self._fail(self.receivers.popleft(), trio.ClosedResourceError())
        return left

    def statistics(self) -> ChannelStatistics:
        """Return the counts of this moment."""
        return ChannelStatistics(
            nr_sent=self.nr_sent,
            nr_received=self.nr_received,
            nr_buffered=len(self.arrived),
            nr_under_way=len(self.under_way),
            nr_senders_waiting=sum(not waiter.is_decided for waiter, _ in self.senders),
            nr_receivers_waiting=sum(not waiter.is_decided for waiter in self.receivers),
        )

    def _put(self, value: T) -> None:
        self.nr_sent += 1
        if not self.latency_ns:
            self._arrive(value)
            return
        # A channel never reorders: the event of a delivery takes whatever was sent first.
        self.under_way.append(value)
        self.clock.schedule(self.clock.now_ns + self.latency_ns, self._deliver, None)

    def _deliver(self, _: None) -> None:
        if self.under_way:  # else the receiver closed meanwhile
            self._arrive(self.under_way.popleft())
            self._end_receivers()

    def _arrive(self, value: T) -> None:
        while self.receivers:
            if self.clock.wake(self.receivers.popleft(), self.clock.now_ns, value):
                self.nr_received += 1
                if self.senders:
                    self._admit()
                return
        self.arrived.append(value)

    def _end_receivers(self) -> None:
        if self._is_at_end():
            while self.receivers:
                self._fail(self.receivers.popleft(), trio.EndOfChannel())

    def _forget_sender(self, waiter: Waiter) -> None:
        for entry in self.senders:
            if entry[0] is waiter:
                self.senders.remove(entry)
                return

    def _is_at_end(self) -> bool:
        return self.is_sender_closed and not self.under_way

    def _fail(self, waiter: Waiter, error: BaseException) -> None:
        self.clock.wake(waiter, self.clock.now_ns, error=error)

    def _admit(self) -> None:
        while self.senders:
            waiter, value = self.senders.popleft()
            if self.clock.wake(waiter, self.clock.now_ns):  # else that sender was cancelled
                self._put(value)
                return


class VirtualSendChannel(trio.abc.SendChannel[T]):
    """The sending end."""

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    async def send(self, value: T) -> None:
        """Send, waiting for room if need be."""
        await self._channel.send(value)

    def send_nowait(self, value: T) -> None:
        """Send, or raise trio.WouldBlock."""
        self._channel.send_nowait(value)

    async def aclose(self) -> None:
        """Close this end."""
        self._channel.close_sender()

    def statistics(self) -> ChannelStatistics:
        """Return the counts of this moment."""
        return self._channel.statistics()


class VirtualReceiveChannel(trio.abc.ReceiveChannel[T]):
    """The receiving end."""

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    async def receive(self) -> T:
        """Take the next value, waiting for it if need be."""
        return await self._channel.receive()

    def receive_nowait(self) -> T:
        """Take a value that has arrived, or raise trio.WouldBlock."""
        return self._channel.receive_nowait()

    async def aclose(self) -> None:
        """Close this end; values that were not taken are lost."""
        self._channel.close_receiver()

    def statistics(self) -> ChannelStatistics:
        """Return the counts of this moment."""
        return self._channel.statistics()


def open_channel(
    clock: VirtualClock, capacity: int, *, latency_ns: int = 0, name: str = "channel"
) -> tuple[VirtualSendChannel[T], VirtualReceiveChannel[T]]:
    """Open a channel that holds at most `capacity` values, >= 1, buffered or under way."""
    channel: Channel[T] = Channel(clock, capacity, latency_ns, name)
    return VirtualSendChannel(channel), VirtualReceiveChannel(channel)
