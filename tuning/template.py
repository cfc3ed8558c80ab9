"""Messages to token ids, through the model's own chat template and nothing else.

Text that comes from users or documents is encoded as text: a literal `<|im_end|>` in a
document never becomes the special token. The template is rendered with placeholders where the
contents go, and only the template's own text is encoded with special tokens.

Knows no model weights. Read `ChatTemplate.prompt` first.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from tuning.errors import GeneratorError, NoChatTemplate

Message = dict[str, str]

_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")


class ChatTemplate:
    """The chat template of one tokenizer, as two functions: `prompt` and `reply`.

    Thinking models answer without thinking unless `thinking` is set (their templates read
    `enable_thinking`; others ignore it).

    Raises:
        NoChatTemplate: the tokenizer has none.
    """

    def __init__(self, tokenizer: Any, *, thinking: bool = False) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise NoChatTemplate(
                "this model has no chat template, so it cannot follow a conversation; "
                "choose its instruct or chat variant"
            )
        self.tokenizer = tokenizer
        # Whether special tokens are spelled out is state of a tokenizer, shared by all threads:
        # one tokenizer for either way, so that no thread ever switches it under another.
        self._speller = copy.deepcopy(tokenizer)
        self.thinking = thinking
        # Between the first and the second character of each added token: some, such as Qwen3's
        # </think>, are not marked as special, and no option of the tokenizer spells them out.
        added = [token for token in tokenizer.get_added_vocab() if len(token) > 1]
        inside = [f"(?<={re.escape(token[0])})(?={re.escape(token[1:])})" for token in added]
        self._inside_token = re.compile("|".join(inside) or "(?!)")
        self.text("")  # the speller is switched here, before any thread uses it
        self.end_ids = self._reply_end()

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the assistant begins to write."""
        return self._encode(messages, generation_prompt=True)

    def reply(self, text: str) -> list[int]:
        """The ids of an assistant's reply with its end of turn: what training teaches."""
        return [*self.text(text), *self.end_ids]

    def text(self, text: str) -> list[int]:
        """The ids of plain text; whatever looks like a special token in it is spelled out."""
        ids: list[int] = []
        for part in self._inside_token.split(text):
            spelt = self._speller(part, add_special_tokens=False, split_special_tokens=True)
            ids += spelt.input_ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def digest(self, conversations: Sequence[Sequence[Message]]) -> str:
        """A name for how these conversations are encoded: sha256 of their ids, 16 digits."""
        ids = [self.prompt(messages) for messages in conversations]
        return hashlib.sha256(repr(ids).encode()).hexdigest()[:16]

    def _encode(self, messages: Sequence[Message], *, generation_prompt: bool) -> list[int]:
        contents = [m["content"] for m in messages]
        rendered = self._render(messages, generation_prompt=generation_prompt)
        ids: list[int] = []
        position = 0
        for match in _PLACEHOLDER.finditer(rendered):
            ids += self._markup(rendered[position : match.start()])
            ids += self.text(contents[int(match[1])])
            position = match.end()
        return ids + self._markup(rendered[position:])

    def _render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        marked = [
            {"role": m["role"], "content": f"\ue000{i}\ue001"} for i, m in enumerate(messages)
        ]
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                marked,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                enable_thinking=self.thinking,
            )
        except Exception as error:  # jinja raises what the template's author chose
            raise GeneratorError(f"the model's chat template refused: {error}") from error
        return rendered

    def _markup(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _reply_end(self) -> list[int]:
        """What the template writes after a reply, up to and with its first special token."""
        talk = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
        after = _PLACEHOLDER.split(self._render(talk, generation_prompt=False))[-1]
        ids = self._markup(after)
        special = set(self.tokenizer.all_special_ids)
        for i, token in enumerate(ids):
            if token in special:
                return ids[: i + 1]
        return [self.tokenizer.eos_token_id]
