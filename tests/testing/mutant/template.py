"""A template of characters, and wrong ones."""

from __future__ import annotations

import copy
from typing import Any

from twinkle.testing import TemplateExample

ROLES = {"system": 1, "user": 2, "assistant": 3}
END = 4
SHOWN = {number: f"<{role}>" for role, number in ROLES.items()} | {END: "\n"}


class GoodTemplate:
    """One token a character, one before each turn, one after it."""

    begin: tuple[int, ...] = ()
    prompt: tuple[int, ...] = (ROLES["assistant"],)
    trained_roles: tuple[str, ...] = ("assistant",)

    def batch_encode(self, trajectories: Any, add_generation_prompt: bool = False) -> list[Any]:
        return [{**row, **self.feature(row["messages"], add_generation_prompt)} for row in trajectories]

    def feature(self, messages: Any, add_generation_prompt: bool) -> Any:
        ids, trained = list(self.begin), [False] * len(self.begin)
        for message in messages:
            turn = [ROLES[message["role"]], *(ord(c) + 10 for c in message["content"]), END]
            is_trained = message["role"] in self.trained_roles and not add_generation_prompt
            trained += [False] + [is_trained] * (len(turn) - 1)
            ids += turn
        if add_generation_prompt:
            ids += self.prompt
            trained += [False] * len(self.prompt)
        return {"input_ids": ids, "labels": self.labels(ids, trained)}

    def labels(self, ids: list[int], trained: list[bool]) -> list[int]:
        return [token if flag else -100 for token, flag in zip(ids[1:], trained[1:], strict=True)] + [-100]

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        return "".join(SHOWN.get(token, chr(max(token - 10, 0))) for token in token_ids)

    def concat_input_feature(self, prompt: Any, new_tokens: Any) -> Any:
        feature = copy.deepcopy(prompt)
        feature["input_ids"] += new_tokens
        feature["labels"] = prompt["labels"][:-1] + list(new_tokens) + [-100]
        return feature


class Tokenizer:
    """As much of a tokenizer as is compared with."""

    def apply_chat_template(self, messages: Any, tokenize: bool, return_dict: bool) -> list[int]:
        ids: list[int] = GoodTemplate().feature(messages, False)["input_ids"]
        return ids

    def decode(self, token_ids: Any) -> str:
        return GoodTemplate().decode(token_ids)


class DecodesLess(GoodTemplate):
    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        text = super().decode(token_ids)
        return text.replace("helpful", "") if token_ids[0] == ROLES["system"] else text


class DoesNotShift(GoodTemplate):
    def labels(self, ids: list[int], trained: list[bool]) -> list[int]:
        return [token if flag else -100 for token, flag in zip(ids[:-1], trained[:-1], strict=True)] + [-100]


class TrainsTheUser(GoodTemplate):
    trained_roles = ("user", "assistant")


class PromptsOtherwise(GoodTemplate):
    prompt = (ROLES["assistant"], ord("\n") + 10)


class BeginsOtherwise(GoodTemplate):
    begin = (END,)


class DependsOnTheBatch(GoodTemplate):
    def batch_encode(self, trajectories: Any, add_generation_prompt: bool = False) -> list[Any]:
        features = super().batch_encode(trajectories, add_generation_prompt)
        for feature in features[1:]:
            feature["input_ids"] = [*feature["input_ids"], END]
            feature["labels"] = [*feature["labels"], -100]
        return features


class MarksRows(GoodTemplate):
    def batch_encode(self, trajectories: Any, add_generation_prompt: bool = False) -> list[Any]:
        for row in trajectories:
            row["encoded"] = True
        return super().batch_encode(trajectories, add_generation_prompt)


class LosesColumns(GoodTemplate):
    def concat_input_feature(self, prompt: Any, new_tokens: Any) -> Any:
        feature = super().concat_input_feature(prompt, new_tokens)
        return {name: feature[name] for name in ("input_ids", "labels")}


EXAMPLE = TemplateExample(tokenizer=Tokenizer)
GOOD = (GoodTemplate, EXAMPLE)
MUTANTS = {
    "text_comes_back": (DecodesLess, EXAMPLE),
    "labels_are_the_next_token": (DoesNotShift, EXAMPLE),
    "only_the_assistant_is_trained": (TrainsTheUser, EXAMPLE),
    "prompts_are_prefixes": (PromptsOtherwise, EXAMPLE),
    "equals_the_chat_template_of_the_model": (BeginsOtherwise, EXAMPLE),
    "a_batch_equals_its_rows": (DependsOnTheBatch, EXAMPLE),
    "leaves_the_rows": (MarksRows, EXAMPLE),
    "continues_a_prompt": (LosesColumns, EXAMPLE),
}
