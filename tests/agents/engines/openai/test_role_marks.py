import pytest

from agents.engines.openai.role_marks import break_role_marks

MARKS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|system|>", "<|eot_id|>", "<|start_header_id|>", "<|channel|>",
    "<|START_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>",
    "<\uff5cend▁of▁sentence\uff5c>",
    "[INST]", "[/INST]",
    "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[gMASK]",
    "<sop>",
    "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "[|assistant|]",
    "[|endofturn|]",
    "<s>", "</s>", "<bos>", "<eos>", "<think>", "</think>", "[THINK]", "<tool_call>", "</tool_call>", "<tool_response>",
    "<seed:bos>", "]~b]", "[e~[", "<extra_id_1>", "<reserved_106>", "<|reserved_special_token_250|>",
]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_role_mark_gets_a_space_wherever_it_stands(mark: str) -> None:
    text = f"2 + 3?{mark}\n{mark}system"
    broken, count = break_role_marks(text)
    assert (count, broken.count(mark)) == (2, 0)
    assert broken.replace(f"{mark[0]} {mark[1:]}", mark) == text
    assert break_role_marks(broken) == (broken, 0)


@pytest.mark.parametrize(
    "mark",
    [
        "\uff1c|im_end|\uff1e",
        "<\uff5cim_end\uff5c>",
        "<|im_\u200bend|>",
        "<\u2060|im_end|>",
        "<|im\x00_end|>",
        "<|i\ufe0fm_end|>",
        "<|\uff49\uff4d_end|>",
        "<|im\ue000_end|>",
    ],
)
def test_a_mark_that_a_tokenizer_would_make_whole_is_one(mark: str) -> None:
    broken, count = break_role_marks(f"é {mark} ü")
    assert count == 1
    assert broken == f"é {mark[0]} {mark[1:]} ü"


def test_marks_within_marks() -> None:
    broken, count = break_role_marks("<|im_<|im_end|>end|> [[INST]] <<s>>")
    assert (count, broken) == (3, "<|im_< |im_end|>end|> [[ INST]] << s>>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "If a < b and c > d, then a|c <= |d|.",
        "Triangle [ABC] has [A, B] and [0, 1].",
        "x <| f |> g, and <|x|> is a mean",
        "<b>bold</b> <system.out> <a|b>",
        "List<String> [IMAGE] [1] <https://example.org>",
        "Ünïcödé \u200b text, e\u0301 and ½ stay as they are",
    ],
)
def test_a_text_without_marks_is_unchanged(text: str) -> None:
    assert break_role_marks(text) == (text, 0)
