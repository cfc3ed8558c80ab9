"""Conversations to ids: only the template's own text may hold special tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tuning.errors import GeneratorError, NoChatTemplate
from tuning.template import ChatTemplate

# The part of Qwen3's template that decides about thinking.
THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
    "{% endif %}"
)
BITS = ["<|end|>", "<|user|>", "é", "日", "🎉", "a", " ", "\n", "\ue000", "\ue0000\ue001"]
TEXT = st.lists(st.sampled_from(BITS)).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_generator: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_generator)


@pytest.fixture(scope="module")
def template(tokenizer: Any) -> ChatTemplate:
    return ChatTemplate(tokenizer)


@pytest.fixture
def other_tokenizer(tiny_generator: Path) -> Any:
    """A tokenizer whose template a test may change."""
    return AutoTokenizer.from_pretrained(tiny_generator)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@given(contents=st.lists(TEXT, min_size=1, max_size=4))
def test_special_tokens_in_user_text_are_encoded_as_text(
    template: ChatTemplate, contents: list[str]
) -> None:
    special = set(template.tokenizer.all_special_ids)
    ids = template.prompt([user(text) for text in contents])
    plain = template.prompt([user("") for _ in contents])
    assert [i for i in ids if i in special] == plain
    assert template.decode(ids) == "".join(contents)


def test_text_that_looks_like_a_placeholder_stays_text(template: ChatTemplate) -> None:
    ids = template.prompt([user("first"), user("\ue0000\ue001")])
    assert template.decode(ids) == "first\ue0000\ue001"


def test_a_prompt_is_what_the_template_renders(template: ChatTemplate) -> None:
    messages = [user("Good morning"), {"role": "assistant", "content": "Hello."}, user("And?")]
    rendered = template.tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    assert template.prompt(messages) == rendered


def test_a_reply_ends_with_the_end_of_turn_token(template: ChatTemplate) -> None:
    end = template.tokenizer.convert_tokens_to_ids("<|end|>")
    assert template.reply("Hello<|end|>") == [*template.text("Hello<|end|>"), end]
    assert template.reply("").count(end) == 1


def test_a_template_without_an_end_of_turn_ends_replies_with_the_end_of_text(
    other_tokenizer: Any,
) -> None:
    other_tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    template = ChatTemplate(other_tokenizer)
    assert template.reply("Hi")[2:] == [other_tokenizer.eos_token_id]


def test_a_model_without_a_chat_template_is_refused_in_words(other_tokenizer: Any) -> None:
    other_tokenizer.chat_template = None
    with pytest.raises(NoChatTemplate, match="choose its instruct or chat variant"):
        ChatTemplate(other_tokenizer)


def test_a_thinking_template_does_not_think_unless_asked(other_tokenizer: Any) -> None:
    other_tokenizer.chat_template = THINKING
    quiet, thinking = ChatTemplate(other_tokenizer), ChatTemplate(other_tokenizer, thinking=True)
    assert quiet.decode(quiet.prompt([user("Why?")])) == "Why?<think></think>"
    assert thinking.decode(thinking.prompt([user("Why?")])) == "Why?"


def test_a_template_that_refuses_a_conversation_says_so(other_tokenizer: Any) -> None:
    other_tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}"
        "{% endif %}{{ messages[0].content }}"
    )
    template = ChatTemplate(other_tokenizer)
    with pytest.raises(GeneratorError, match="no system role here"):
        template.prompt([{"role": "system", "content": "Be kind."}, user("Hello")])


def test_the_digest_names_the_form_and_not_the_run(
    tokenizer: Any, template: ChatTemplate, other_tokenizer: Any
) -> None:
    fixtures = [[user("Hello")], [user("Hello"), user("Well?")]]
    assert ChatTemplate(tokenizer).digest(fixtures) == template.digest(fixtures)
    other_tokenizer.chat_template = THINKING
    assert ChatTemplate(other_tokenizer).digest(fixtures) != template.digest(fixtures)


def test_threads_do_not_disturb_each_others_encoding(template: ChatTemplate) -> None:
    # Spelling special tokens out is state of a tokenizer, and one was shared by all threads.
    messages = [user("a<|end|>b")]
    expected = template.prompt(messages)
    with ThreadPoolExecutor(4) as threads:
        assert all(ids == expected for ids in threads.map(template.prompt, [messages] * 400))
