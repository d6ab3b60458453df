"""SmolLM2 generation through `transformers` in fp32, dequantised from a GGUF file."""

import torch
from transformers import AutoModelForCausalLM


class TransformersGenerator:
    def __init__(self, path, threads):
        torch.set_num_threads(threads)
        self.model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()

    def generate(self, run, batch, prompt_tokens, new_tokens):
        """The number of tokens written after `batch` random prompts."""
        torch.manual_seed(run)
        ids = torch.randint(100, self.model.config.vocab_size, (batch, prompt_tokens))
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.7, top_p=0.95, top_k=0,
                max_new_tokens=new_tokens, min_new_tokens=new_tokens, pad_token_id=2,
            )  # fmt: skip
        return out.shape[0] * (out.shape[1] - prompt_tokens)
