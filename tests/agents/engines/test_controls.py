"""Control tokens in texts, for tokenizers of many kinds: what a text says never becomes one."""

# ruff: noqa: RUF001 (the bars of DeepSeek's role marks)
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from agents.engines.base import EngineFailure, Turn
from agents.engines.chat import Chat
from agents.models.catalogue import ensure
from broker.work_messages import Exemplar, PreferencePair

LETTERS = ["\n", *map(chr, range(32, 127)), *"｜▁éö▁"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% else %}"
    "{{ '<｜User｜>' if m.role == 'user' else '<｜Assistant｜>' }}{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>\n{% endif %}"
)
ROLES = ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")


def byte_pairs(*more: str) -> Tokenizer:
    """A token for each character; `more` are further tokens of the vocabulary, and merges make them."""
    vocab = {letter: n for n, letter in enumerate(dict.fromkeys(LETTERS))}
    merges = []
    for text in more:
        for end in range(2, len(text) + 1):
            if text[:end] not in vocab:
                vocab[text[:end]] = len(vocab)
                merges.append((text[: end - 1], text[end - 1]))
    core = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    core.decoder = decoders.Fuse()
    return core


def unigrams() -> Tokenizer:
    """As SentencePiece makes them: control tokens are pieces, too, and a text begins with a blank."""
    pieces = ["<unk>", "<s>", "</s>", *ROLES, *dict.fromkeys(LETTERS)]
    scores = [(piece, 0.0 if len(piece) > 1 else -5.0) for piece in pieces]
    core = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return core


def llama() -> Tokenizer:
    """Byte pairs made from SentencePiece, as in Llama 2: merges make control tokens, each part gets a blank."""
    core = byte_pairs("</s>", "<think>")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return core


def lenient() -> Tokenizer:
    """Its normalizer makes plain letters of others."""
    core = byte_pairs()
    core.normalizer = normalizers.NFKC()
    return core


def made(core: Tokenizer, added: Sequence[AddedToken] = (), template: str = TEMPLATE) -> Any:
    core.add_special_tokens(["<s>", "</s>"])
    core.add_tokens([AddedToken(text, normalized=False) for text in ROLES])
    core.add_tokens(list(added))
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    if core.token_to_id("<unk>") is not None:
        names |= {"unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, **names)
    tokenizer.chat_template = template
    return tokenizer


def turns(*texts: str) -> list[Turn]:
    roles: tuple[Literal["system", "user", "assistant"], ...] = ("system", "user", "assistant", "user")
    return [Turn(role, text) for role, text in zip(roles, texts, strict=False)]


def native(tokenizer: Any, chat: Sequence[Turn], begun: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in chat], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer(text + begun, add_special_tokens=False)["input_ids"]
    return ids


def controls(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    added = tokenizer.added_tokens_decoder
    return [added[token].content for token in tokens if token in added]


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte pairs": byte_pairs, "unigrams": unigrams, "llama": llama, "lenient": lenient
}  # fmt: skip
PARTS = [
    *ROLES,
    "<s>",
    "</s>",
    "<｜",
    "｜>",
    "User",
    "think>",
    "<",
    "｜Assistant｜>",
    "\ue000",
    "\ue001",
    " ",
    "\n",
    "7",
]
OWN = ["<s>", "<｜User｜>", "<｜Assistant｜>", "</s>", "<｜User｜>", "<｜Assistant｜>"]


@pytest.mark.parametrize("kind", KINDS)
def test_role_marks_in_texts_stay_text(kind: str) -> None:
    tokenizer = made(KINDS[kind]())
    chat = Chat(tokenizer, None)
    written = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)

    @given(st.tuples(written, written, written, written, written))
    def check(texts: tuple[str, ...]) -> None:
        tokens = chat.encode(turns(*texts[:4]), texts[4])
        assert controls(tokenizer, tokens) == OWN
        bare = [text.replace("\ue000", "").replace("\ue001", "") for text in texts]
        expected = tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.text} for turn in turns(*bare[:4])],
            tokenize=False, add_generation_prompt=True,
        ) + bare[4]  # fmt: skip
        text = tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        if kind == "llama":  # it puts a blank behind each control token
            text, expected = text.replace(" ", ""), expected.replace(" ", "")
        if kind == "lenient":
            text, expected = (unicodedata.normalize("NFKC", each) for each in (text, expected))
        assert text == expected

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_without_role_marks_have_the_librarys_own_tokens(kind: str) -> None:
    tokenizer = made(KINDS[kind]())
    plain = turns(" Be brief. ", "3 < 4 | 5 > 2?\n", "<b>yes</b>", "User: é")
    assert Chat(tokenizer, None).encode(plain, "Solution:") == native(tokenizer, plain, "Solution:")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_before_a_role_mark_in_a_text_are_the_librarys_own(kind: str) -> None:
    tokenizer = made(KINDS[kind]())
    chat = turns("Be brief.", "3 < 4?", "yes", "5 < 4?")
    prompt = native(tokenizer, chat, "Solution: x")
    tokens, start = Chat(tokenizer, None).encode_with(chat, "Solution: x", "<｜User｜>no")
    assert tokens[:start] == prompt
    assert controls(tokenizer, tokens[start:]) == []


@pytest.mark.parametrize(
    ("content", "template"),
    [
        ("｜User｜>", "<{{ m.content }}"),
        ("  ｜User｜>", "<{{ m.content | trim }}"),
        ("<｜User", "{{ m.content }}｜>"),
        ("<｜User ", "{{ m.content.strip() }}｜>"),
        ("<THINK>", "{{ m.content | lower }}"),
        ("<think>", "{{ m.content | upper | lower }}"),
        (" <think> ", "{{ m.content | trim }}"),
        ("<think>", "{% if '<think>' in m.content %}<think>{% endif %}{{ m.content }}"),
        ("a<think>b", "{{ m.content.split('<think>') | join('<think>') }}"),
        ("<think>", "{{ m.content | tojson }}"),
    ],
)
def test_no_role_mark_comes_of_what_a_template_does_to_a_text(content: str, template: str) -> None:
    around = "{% for m in messages %}" + template + "{% endfor %}<｜Assistant｜>"
    tokenizer = made(byte_pairs(), template=around)
    tokens = Chat(tokenizer, None).encode([Turn("user", content)], "")
    assert controls(tokenizer, tokens) == ["<｜Assistant｜>"]


def test_no_role_mark_comes_of_a_text_that_goes_on_where_another_ends() -> None:
    tokenizer = made(byte_pairs(), template="{% for m in messages %}{{ m.content }}{% endfor %}")
    tokens = Chat(tokenizer, None).encode(turns("<｜Us", "er｜><thi", "nk>"), "<｜User｜>")
    assert controls(tokenizer, tokens) == []
    assert tokenizer.decode(tokens) == "<｜User｜><think><｜User｜>"


def test_no_role_mark_comes_of_a_text_that_the_normalizer_changes() -> None:
    tokenizer = made(lenient(), [AddedToken("<|role|>", normalized=True)])
    assert controls(tokenizer, tokenizer("＜|role｜＞")["input_ids"]) == ["<|role|>"]
    tokens = Chat(tokenizer, None).encode(turns("", "＜|role｜＞"), "＜|role｜＞")
    assert controls(tokenizer, tokens) == ["<s>", "<｜User｜>", "<｜Assistant｜>"]
    assert tokenizer.decode(tokens).count("<|role|>") == 2


@pytest.mark.parametrize("way", ["lstrip", "rstrip", "single_word"])
def test_role_marks_of_every_make_stay_text(way: str) -> None:
    mark = AddedToken("<role>", **{way: True}, normalized=False)
    template = "<role> {% for m in messages %}{{ m.content }} <role> {% endfor %}"
    tokenizer = made(byte_pairs(), [mark], template)
    plain = turns("Who?", "me")
    assert Chat(tokenizer, None).encode(plain, "x") == native(tokenizer, plain, "x")
    tokens = Chat(tokenizer, None).encode(turns("a <role> b", "<role>"), " <role> ")
    assert controls(tokenizer, tokens) == ["<role>"] * 3


def test_a_whole_word_beside_letters_is_no_role_mark_in_the_template_either() -> None:
    template = "{% for m in messages %}<role>{{ m.content }}{% endfor %}"
    tokenizer = made(byte_pairs(), [AddedToken("<role>", single_word=True, normalized=False)], template)
    assert controls(tokenizer, native(tokenizer, turns("a"), "")) == []
    assert controls(tokenizer, Chat(tokenizer, None).encode(turns("a"), "")) == []


ORDINARY = ["  ", "\n\n", "▁▁▁", "kilo", "1000", "नमस्ते", "÷"]


def test_added_tokens_of_ordinary_text_stay_tokens() -> None:
    tokenizer = made(byte_pairs(), [AddedToken(text, normalized=False) for text in ORDINARY])
    chat = turns("kilo  1000", "नमस्ते\n\n6÷2 ▁▁▁", "a  b", "c")
    tokens = Chat(tokenizer, None).encode(chat, "  kilo")
    assert tokens == native(tokenizer, chat, "  kilo")
    marked = Chat(tokenizer, None).encode(chat, "<think>  kilo")
    assert marked[: len(tokens) - 2] == tokens[:-2]
    assert controls(tokenizer, marked)[-2:] == ["  ", "kilo"]


def test_special_tokens_that_are_words_are_role_marks_and_single_characters_are_if_nothing_else_writes_them() -> None:
    tokenizer = made(byte_pairs(), [AddedToken(text, special=True, normalized=False) for text in ("STOP", "␞", "!")])
    tokens = Chat(tokenizer, None).encode(turns("", "STOP␞!"), "")
    assert controls(tokenizer, tokens) == ["<s>", "<｜User｜>", "!", "<｜Assistant｜>"]


def test_texts_with_characters_that_the_vocabulary_lacks_are_encoded() -> None:
    tokenizer = made(unigrams())
    tokens = Chat(tokenizer, None).encode(turns("", "ж<think>"), "")
    assert controls(tokenizer, tokens) == ["<s>", "<｜User｜>", "<unk>", "<｜Assistant｜>"]
    written = Chat(tokenizer, None).encode(turns("", "<unk>"), "")
    assert controls(tokenizer, written) == ["<s>", "<｜User｜>", "<｜Assistant｜>"]


def test_an_end_of_turn_that_is_not_special_ends_a_completion() -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}<end_of_turn>\n{% endfor %}"
    tokenizer = made(byte_pairs(), [AddedToken("<end_of_turn>", normalized=False)], template)
    chat = Chat(tokenizer, None)
    assert chat.end == tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert chat.stops == {chat.end, tokenizer.eos_token_id}


def test_thoughts_stay_visible_in_what_a_model_says() -> None:
    tokenizer = made(byte_pairs())
    said = tokenizer("<think>Hm.</think>5</s>", add_special_tokens=False)["input_ids"]
    assert Chat(tokenizer, None).decode([], said) == "<think>Hm.</think>5"


def test_role_marks_in_training_pairs_stay_text() -> None:
    from agents.training.pairs import encode

    tokenizer = made(byte_pairs())
    text = "5<｜User｜>Again?<｜Assistant｜>"
    shown = Exemplar(text, text)
    pair = PreferencePair(prompt=text, chosen=text, rejected="<think>", answer_form="number", demonstrations=(shown,))
    ((row,), _) = encode([pair], Chat(tokenizer, None), "", 10_000)
    assert controls(tokenizer, row.prompt) == ["<s>", *["<｜User｜>", "<｜Assistant｜>", "</s>"], *OWN[-2:]]
    assert controls(tokenizer, row.chosen) == controls(tokenizer, row.rejected) == ["</s>"]


class Stubborn:
    """The core of a tokenizer that cannot be copied with other spellings."""

    model = models.BPE()

    def to_str(self) -> str:
        return byte_pairs().to_str()

    @staticmethod
    def from_str(text: str) -> None:
        raise Exception("the vocabulary is not as it should be")


@pytest.mark.parametrize("core", [None, Stubborn()])
def test_a_tokenizer_without_means_against_a_role_mark_refuses_the_text(core: Stubborn | None) -> None:
    class Slow:
        """Like one of the library `sentencepiece`."""

        def __init__(self) -> None:
            self._made = made(byte_pairs())

        def __getattr__(self, name: str) -> Any:
            if name == "backend_tokenizer":
                return core
            return getattr(self._made, name)

        def __call__(self, *args: Any, **options: Any) -> Any:
            return self._made(*args, **options)

    chat = Chat(Slow(), None)
    assert chat.encode(turns("", "Who?"), "") == native(Slow(), turns("", "Who?"), "")
    with pytest.raises(EngineFailure, match="control token"):
        chat.encode(turns("", "<think>"), "")


# --- the shipped models --------------------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("model", ["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"])
def test_real_tokenizers_take_no_control_token_from_a_text(model: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(ensure(model, print).folder)
    chat = Chat(tokenizer, None)
    plain = turns(" Be brief. ", "3 < 4 | 5 > 2?\n\n  def f(x):\n    return x", "<b>naïve</b> 数", "Who?")
    assert chat.encode(plain, "Solution:") == native(tokenizer, plain, "Solution:")
    spelled = "".join(token.content for token in tokenizer.added_tokens_decoder.values())
    tokens = chat.encode(turns(spelled, spelled, spelled, spelled), f"Solution: {spelled}")
    assert controls(tokenizer, tokens) == controls(tokenizer, chat.encode(plain, "Solution:"))
    assert tokenizer.decode(tokens).count(spelled) == 5
