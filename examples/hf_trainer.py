"""The Hugging Face `Trainer` with lrwatch's callback. Beside it: `lrwatch run --mode auto runs/hf_trainer`.

The scale is in `trainer_state.json`, so `trainer.train(resume_from_checkpoint=True)` continues with it.
"""

import torch
import transformers

import lrwatch

STEPS = 60


class Data(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Sequences that count upwards."""

    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = (torch.arange(16) + index) % 64
        return {"input_ids": tokens, "labels": tokens}


model = transformers.GPT2LMHeadModel(
    transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None
    )
)
arguments = transformers.TrainingArguments(
    output_dir="runs/hf_trainer",
    max_steps=STEPS,
    learning_rate=1e-3,
    logging_steps=5,
    save_strategy="no",
    report_to=[],
    use_cpu=True,
)
trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Data())
trainer.add_callback(lrwatch.transformers.LrwatchCallback("runs/hf_trainer/lrwatch"))
result = trainer.train()

print(f"{trainer.state.global_step} steps, mean loss {result.training_loss:.3f}")
