"""The messages of requests, as they are sent, and the prompts that agents make of them, as they are kept."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import msgspec

from broker.work_messages import Message
from scenarios.levels.base import Level, MessageWithFile, Request
from scenarios.levels.results import KINDS
from scenarios.session.liveness import ClassFailure
from scenarios.store.prompts import Chain, Parts, chain
from scenarios.store.sqlite import Store


class RequestMessages:
    """Makes messages and prompts. Students of a class are asked the same: equal ones are one object, made once.

    Args:
        level: fills in the texts of its requests.
        store: has the texts of earlier results.
        pools: by name of an agent in requests: the pool that is sent them.
        weights, keep_file, prompt_of: see `ClassRunner`.
    """

    def __init__(
        self,
        level: Level,
        store: Store,
        pools: Mapping[str, str],
        weights: Mapping[str, str],
        keep_file: Callable[[str, bytes], None],
        prompt_of: Callable[[str, Message], Parts],
    ) -> None:
        self._level = level
        self._pools = pools
        self._weights = weights
        self._keep_file = keep_file
        self._text = lru_cache(maxsize=4096)(store.text)
        self._weighted = lru_cache(maxsize=256)(lambda message, of: msgspec.structs.replace(message, weights=of))
        self._chain = lru_cache(maxsize=1024)(lambda pool, message: chain(prompt_of(pool, message)))
        self._sent: dict[str, Message] = {}
        """The messages that were made, of requests whose prompts are not kept yet."""

    def message(self, request: Request) -> Message:
        """The message of a request, with the weights that must answer it: all that ask for work have this field.

        Raises:
            ClassFailure: a file that it names cannot be written.
        """
        weights = request.weights or self._weights.get(self._pools[request.to], "")
        message = self._level.message(request, self._text)
        if isinstance(message, MessageWithFile):
            try:
                self._keep_file(message.name, message.content)
            except OSError as error:
                raise ClassFailure(f"{message.name} cannot be written: {error.strerror}") from error
            message = message.message
        weighted: Message = self._weighted(message, weights)
        if KINDS[request.kind].prompted:
            self._sent[request.id] = weighted
        return weighted

    def forget(self, request_ids: Iterable[str]) -> None:
        """Keep no message of requests that are withdrawn; one that has a result all the same is made anew."""
        for id in request_ids:
            self._sent.pop(id, None)

    def prompt(self, request: Request) -> Chain:
        """The prompt of a request as it is kept, once it has a result; empty: there is none, or it is not known."""
        if not KINDS[request.kind].prompted:
            return ()
        message = self._sent.pop(request.id, None) or self._level.message(request, self._text)
        return () if isinstance(message, MessageWithFile) else self._chain(self._pools[request.to], message)
