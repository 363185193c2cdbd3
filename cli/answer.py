"""What a model answers to a question, most probable token first."""

from __future__ import annotations

from typing import Any

MAX_NEW_TOKENS = 64


def answer(model: Any, template: Any, preprocessor: Any, question: str) -> str:
    """The greedy answer to ``question``, asked in the words that the preprocessor puts around a row of the training data."""
    import torch
    from transformers import GenerationConfig

    *prompt, _ = preprocessor.preprocess({"query": question, "response": ""})["messages"]
    (feature,) = template.batch_encode([{"messages": prompt}], add_generation_prompt=True)
    module = model.model
    input_ids_BT = torch.tensor([[int(token) for token in feature["input_ids"]]], device=module.device)
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=module.generation_config.eos_token_id,
        pad_token_id=module.generation_config.pad_token_id,
    )
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            tokens_BT = module.generate(input_ids=input_ids_BT, attention_mask=torch.ones_like(input_ids_BT), generation_config=greedy)
    finally:
        module.train(was_training)
    text: str = template.decode(tokens_BT[0, input_ids_BT.shape[1] :].tolist(), skip_special_tokens=True)
    return text
