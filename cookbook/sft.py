"""Supervised fine-tuning in one flat loop: a chat model learns who it is.

    python cookbook/sft.py --model ms://Qwen/Qwen3-4B --data ms://swift/self-cognition

Both may be local paths. Prints the loss, saves a LoRA adapter that plain transformers and PEFT load.
"""

from __future__ import annotations

import argparse

from peft import LoraConfig

from twinkle.dataloader import DataLoader
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.model import TransformersModel

ACCUMULATION = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ms://Qwen/Qwen3-4B")
    parser.add_argument("--data", default="ms://swift/self-cognition")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--output", default="output/sft")
    args = parser.parse_args()

    dataset = Dataset(DatasetMeta(args.data, data_slice=range(args.rows)))
    dataset.set_template("Template", model_id=args.model, max_length=1024)
    dataset.map("SelfCognitionProcessor", init_args={"model_name": "Twinkle", "model_author": "the Twinkle team"})
    dataset.encode()
    loader = DataLoader(dataset=dataset, batch_size=8, shuffle=True)

    model = TransformersModel(model_id=args.model)
    model.add_adapter_to_model(
        "default", LoraConfig(r=8, lora_alpha=32, target_modules="all-linear"), gradient_accumulation_steps=ACCUMULATION
    )
    model.set_optimizer("AdamW", lr=1e-4)
    # Schedules count optimizer steps, not batches.
    model.set_lr_scheduler("CosineWarmupScheduler", num_warmup_steps=5, num_training_steps=args.epochs * len(loader) // ACCUMULATION)
    print(model.get_train_configs())

    for epoch in range(args.epochs):
        for step, batch in enumerate(loader):
            model.forward_backward(inputs=batch)
            model.clip_grad_and_step()
            if step % 20 == 0:
                print(f"epoch {epoch} batch {step} of {len(loader)}: {model.calculate_metric()}")
    print(model.save("last", output_dir=args.output))


if __name__ == "__main__":
    main()
