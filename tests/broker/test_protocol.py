"""The bytes of every message, as they were when the protocol was written down.

`python -m tests.broker.test_protocol` writes the golden files anew, for a change that is meant.
"""

from pathlib import Path

import msgpack
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.protocol import (
    BATCH,
    KINDS,
    MAX_BODY,
    WORK,
    Ack,
    Drain,
    Envelope,
    Gauges,
    Gone,
    Goodbye,
    Heartbeat,
    Hello,
    Joined,
    Lost,
    PeerGauge,
    Quiet,
    Unknown,
    Welcome,
    WireError,
    decode,
    digest,
    encode,
    envelope,
    from_frames,
    pack,
    to_frames,
)
from broker.work_messages import (
    Answered,
    Ask,
    Examine,
    Exemplar,
    Explain,
    Failed,
    Feedback,
    Grade,
    Graded,
    Invent,
    Judge,
    Message,
    Mistake,
    Progress,
    Recipe,
    Reflect,
    Revise,
    Sampling,
    Teach,
    Train,
    Trained,
    Usage,
)

GOLDEN = Path(__file__).parent / "golden"
USAGE = Usage(prompt_tokens=310, cached_tokens=256, completion_tokens=41, seconds=1.5, finish_reason="length")
HELLO = Hello(
    name="tiny", role="student", pool="small", answerer="ab12", model="smollm2", engine="simulated", device="cpu",
    prompts="1", pid=77, state="ready", credit=8, working=("r1", "r2"),
)  # fmt: skip
COUNTS = ("prompt_tokens", "cached_tokens", "cacheable_tokens", "completion_tokens")
EVEN = Exemplar("4", "It is twice two.", "Yes")
SAMPLES: tuple[Message, ...] = (
    Teach(
        problem="What is 6 · 7?", answer_form="number", sampling=Sampling(),
        demonstrations=(Exemplar("What is 1 + 1?", "It is 2."),), weights="w1",
    ),
    Examine(
        problem="What is 8 · 7?", answer_form="latex", sampling=Sampling(temperature=0.0, max_tokens=64),
        material=(Exemplar("What is 6 · 7?", "6 · 7 = 42"),),
    ),
    Grade(
        problem="What is 8 · 7?", answer_form="number", solution="8 · 7 = 56\nAnswer: 56",
        material=(Exemplar("What is 6 · 7?", "6 · 7 = 42"),),
    ),
    Reflect(
        task="Is it even?", answer_form="yes_no", material=(EVEN,), reasons=2, sampling=Sampling(),
        mistakes=(Mistake("6", "Answer: No", "tiny"),), complaint="no list", previous="hm",
    ),
    Revise(
        task="Is it even?", answer_form="yes_no", material=(EVEN,), count=8, sampling=Sampling(),
        mistakes=(Mistake("6", "Answer: No"),), reasons=("only one number is shown",),
    ),
    Ask(material=(EVEN,), sampling=Sampling()),
    Explain(material=(EVEN,), question="Why?", sampling=Sampling()),
    Judge(problem="What is 6 · 7?", solutions=("It is 42.\nAnswer: 42", "Answer: 13"), sampling=Sampling()),
    Invent(problem="What is 6 · 7?", answer_form="number", sampling=Sampling()),
    Train(pairs="pairs-ab12.jsonl", pairs_digest="ab12", recipe=Recipe(method="sft", lora=False), weights="w1"),
    Graded(logprob=-0.25, tokens=12, usage=USAGE),
    Trained(trained="w2", pairs=64, steps=4, seconds=300.0, figures={"loss": 0.5}),
    Progress(step=1, steps=4, figures={"loss": 0.7}),
    Feedback(about="r0", lbt_scores={"tiny": 0.5}, failed=("What is 8 · 7?",)),
    Answered(text="8 · 7 = 56", usage=USAGE),
    Failed(kind="context", detail="4,100 tokens, and the model takes 2,048"),
    HELLO,
    Welcome(epoch="e1", heartbeat_s=2.0, credit=1024),
    Unknown(),
    Heartbeat(state="ready", credit=8, progress=("r1",), completion_tokens=900, memory_mb=512.5, spent=0.25),
    Ack(request_ids=("r1", "r2")),
    Drain(),
    Goodbye(reason="drained"),
    Gone(name="tiny", detail="killed by signal 9", pid=77),
    Joined(hello=HELLO),
    Lost(name="tiny", pool="small", why="silent", detail="nothing heard for 6.1 s", pid=77),
    Quiet(name="tiny", seconds=6.5),
    Gauges(
        epoch="e1", queues={"small": 3}, dropped=1, requeued=2,
        peers=(
            PeerGauge("tiny", "student", "small", "smollm2", "simulated", "cpu", "ready", 8, 2, 40, 1, 2, 3, 4.0, 0.25),
        ),
    ),
)  # fmt: skip


def test_every_kind_has_a_sample() -> None:
    assert {type(sample).__name__ for sample in SAMPLES} == set(KINDS)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_bytes_are_as_written_down(message: Message) -> None:
    golden = (GOLDEN / f"{type(message).__name__}.msgpack").read_bytes()
    assert encode(message) == golden
    assert decode(type(message).__name__, golden) == message


def test_a_body_is_a_plain_map() -> None:
    assert msgpack.unpackb(encode(Goodbye(reason="drained"))) == {"reason": "drained"}


def test_a_peer_of_a_later_version_is_understood() -> None:
    body = msgpack.packb({"text": "42", "mood": "sunny"})
    assert decode("Answered", body) == Answered(text="42")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Applause", b"\x80"),
        ("Answered", b""),
        ("Answered", b"\xc1"),
        ("Answered", msgpack.packb({"text": 42})),
        ("Answered", msgpack.packb([1])),
        ("Answered", msgpack.packb({"text": "42"}) + b"more"),
        ("Answered", b"\x81" * 5000),
        ("Answered", bytes(MAX_BODY + 1)),
        ("Hello", msgpack.packb({"name": "x", "role": "principal"})),
    ],
)
def test_bodies_that_are_no_message_are_refused(kind: str, body: bytes) -> None:
    with pytest.raises(WireError):
        decode(kind, body)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        *((Answered(text=""), f"usage.{name}", value) for name in COUNTS for value in (-1, 2**53 + 1, 2**63, 0.5, "1")),
        *((Answered(text=""), "usage.seconds", value) for value in (float("nan"), float("inf"), -1.0, 1e300)),
        *((Graded(logprob=0.0, tokens=1), "logprob", value) for value in (float("nan"), -float("inf"), 1.0, -1e9)),
        (Graded(logprob=0.0, tokens=1), "tokens", -1),
        *((Trained(trained="w", pairs=1, steps=1, seconds=1.0), name, -1) for name in ("pairs", "steps", "seconds")),
        *(
            (Trained(trained="w", pairs=1, steps=1, seconds=1.0), "trained", v)
            for v in ("../w", "", "a/b", "w\n", "..")
        ),
        (Progress(step=1, steps=1), "step", 2**63),
        (Progress(step=1, steps=1), "figures", {str(n): 0.0 for n in range(65)}),
        *((Heartbeat(), "credit", value) for value in (-1, 2**31)),
        *((Heartbeat(), name, float("nan")) for name in ("memory_mb", "spent")),
        (Heartbeat(), "progress", ["x" * 201]),
        (Ack(request_ids=()), "request_ids", ["r"] * (2**16 + 1)),
        *((HELLO, "pid", value) for value in (-1, 2**31, 2**40)),
    ],
)
def test_a_value_beyond_its_bounds_is_refused_by_name(message: Message, field: str, value: object) -> None:
    data = msgpack.unpackb(encode(message))
    section, _, name = field.rpartition(".")
    (data.setdefault(section, {}) if section else data)[name] = value
    with pytest.raises(WireError, match=field.replace(".", r"\.")):
        decode(type(message).__name__, msgpack.packb(data))


def test_a_loss_that_is_not_a_number_is_sent_like_any_other() -> None:
    [loss] = decode("Progress", encode(Progress(step=1, steps=1, figures={"loss": float("nan")}))).figures.values()  # type: ignore[attr-defined]
    assert loss != loss


@given(kind=st.sampled_from(sorted(KINDS)), body=st.binary(max_size=200))
@settings(max_examples=200, deadline=None, database=None)
def test_any_bytes_are_a_message_or_a_wire_error(kind: str, body: bytes) -> None:
    try:
        assert isinstance(decode(kind, body), KINDS[kind])
    except WireError as error:
        assert len(str(error)) < 300


def test_a_message_that_is_too_large_does_not_leave() -> None:
    with pytest.raises(WireError, match="at most"):
        encode(Answered(text="x" * (MAX_BODY + 1)))


route = st.text(max_size=40).filter(lambda text: len(text.encode(errors="replace")) <= 200)
envelopes = st.builds(Envelope, route, route, route, route, st.binary(max_size=50))


@given(st.lists(envelopes, min_size=1, max_size=8))
@example([envelope(Drain())])
@settings(max_examples=100, deadline=None, database=None)
def test_envelopes_that_share_a_send_come_out_as_they_went_in(sent: list[Envelope]) -> None:
    frames = to_frames(sent)
    assert len(frames) == 5 * len(sent)
    assert from_frames(frames) == sent
    packed = pack(sent)
    assert len(packed) == (5 if len(sent) == 1 else 1)
    assert from_frames(packed) == sent
    assert all(type(one) is Envelope for one in from_frames(packed))


def packed(*fields: object, times: int = 1) -> list[bytes]:
    return [msgpack.packb([fields] * times)]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"Drain"],
        [b""] * 6,
        [b"\xff", b"", b"", b"", b""],
        [b"x" * 201, b"", b"", b"", b""],
        [b""],
        packed("Drain", "", "", ""),
        packed("Drain", "", "", "", "text"),
        packed(b"Drain", "", "", "", b""),
        packed("Drain", "", "", "", b"", times=BATCH + 1),
        packed("Drain", "x" * 201, "", "", b""),
        packed("Drain", "\N{SNOWMAN}" * 67, "", "", b""),
        [packed("Drain", "~", "", "", b"")[0].replace(b"~", b"\xff")],
        [packed("Drain", "", "", "", b"")[0] + b"more"],
        [b"\x91" * 100_000],
    ],
)
def test_frames_that_are_no_envelopes_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        from_frames(frames)


def test_a_packed_send_has_as_many_messages_and_as_long_routes_as_any_other() -> None:
    sent = [Envelope("Drain", "\N{SNOWMAN}" * 66, "x" * 200, "", b"")] * BATCH
    assert from_frames(pack(sent)) == from_frames(to_frames(sent)) == sent


@pytest.mark.parametrize("message", [one for one in SAMPLES if type(one).__name__ in WORK])
def test_a_request_that_was_encoded_before_has_the_same_body_and_another_has_its_own(message: Message) -> None:
    for number in range(200):  # more than are remembered
        other = msgspec.structs.replace(message, weights=f"w{number}")
        assert envelope(other).body == encode(other)
        assert decode(type(other).__name__, encode(other)) == other
    again = decode(type(message).__name__, encode(message))
    assert envelope(again, request_id="a").body == envelope(message, request_id="b").body == encode(message)


def test_a_digest_depends_on_its_parts_and_not_on_the_order_of_keys() -> None:
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert digest("a", {"x": 1}) != digest("a", {"x": 2})
    assert digest("ab", "c") != digest("a", "bc")


if __name__ == "__main__":
    for sample in SAMPLES:
        (GOLDEN / f"{type(sample).__name__}.msgpack").write_bytes(encode(sample))
