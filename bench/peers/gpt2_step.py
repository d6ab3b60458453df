"""A GPT-2-small-shaped attacker with LoRA r 32 on c_attn, and its trajectory-balance step in two ways.

`research`: as the public research code does it: meta-prompt and attack recomputed for each row, full logits, and one
more pass over the meta-prompt for logZ. `best`: the meta-prompt's K/V computed once and shared by the rows, logits at
attack positions only, the fused GELU and cross-entropy. Both train the same parameters and give the same loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

RANK, ALPHA = 32, 16


@dataclass(frozen=True)
class Shape:
    """B rows of T tokens after P meta-prompt tokens; the model's layers, width, heads and vocabulary."""

    batch: int = 16
    tokens: int = 20
    prompt: int = 56
    layers: int = 12
    width: int = 768
    heads: int = 12
    vocab: int = 50257


SMALL = Shape(batch=3, tokens=5, prompt=6, layers=2, width=32, heads=4, vocab=100)


def gpt2_of(shape):
    """A GPT-2 of this shape with random weights and no dropout."""
    config = GPT2Config(
        vocab_size=shape.vocab, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads, n_positions=1024,
        bos_token_id=shape.vocab - 1, eos_token_id=shape.vocab - 1, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


class Attacker:
    """The LoRA-wrapped model, the logZ head, their optimizer, and inputs that depend on the run only."""

    def __init__(self, shape, seed=0):
        torch.manual_seed(seed)
        self.shape = shape
        lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["c_attn"], fan_in_fan_out=True)
        self.model = get_peft_model(gpt2_of(shape), lora)
        self.head = torch.nn.Linear(shape.width, 1)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for p in trained:
            torch.nn.init.normal_(p, std=0.02)
        self.trained = [*trained, *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4, weight_decay=0.01)
        self.end_id = shape.vocab - 1

    def inputs(self, run):
        """Meta-prompt [P], attacks [B, T] and logR [B]."""
        s, generator = self.shape, torch.Generator().manual_seed(1000 + run)
        draw = lambda *size: torch.randint(0, s.vocab - 1, size, generator=generator)
        return draw(s.prompt), draw(s.batch, s.tokens), -50 * torch.rand(s.batch, generator=generator)

    def update(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        return loss.item()


def research_log_probs(attacker, prompt, attacks):
    """log pi [B]: a full forward over prompt and attack of every row, logits at every position."""
    ids = torch.cat([prompt.expand(len(attacks), -1), attacks], 1)
    logits = attacker.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    logits = logits[:, len(prompt) - 1 : -1].clone()
    logits[:, 0, attacker.end_id] = -1e9
    return logits.log_softmax(-1).gather(-1, attacks.unsqueeze(-1)).squeeze(-1).sum(-1)


def research_loss(attacker, prompt, attacks, log_rewards):
    hidden = attacker.model(input_ids=prompt[None], output_hidden_states=True).hidden_states[-1]
    log_z = attacker.head(hidden.mean(1)).squeeze()
    return (log_z + research_log_probs(attacker, prompt, attacks) - log_rewards).pow(2).mean()


def adapted_qkv(c_attn, x, with_lora):
    base = c_attn.base_layer
    y = torch.addmm(base.bias, x.reshape(-1, x.shape[-1]), base.weight).view(*x.shape[:-1], -1)
    if not with_lora:
        return y
    a, b = c_attn.lora_A["default"].weight, c_attn.lora_B["default"].weight
    return y + F.linear(F.linear(x, a), b * (ALPHA / RANK))


def run_blocks(transformer, ids, past, with_lora):
    """Final hidden states [B, S, D] and each layer's K/V; `past` is a shared prefix's K/V [1, H, P, K]."""
    offset = past[0][0].shape[2] if past else 0
    x = transformer.wte(ids) + transformer.wpe.weight[offset : offset + ids.shape[1]]
    b, s, heads = *ids.shape, transformer.config.n_head
    mask = torch.ones(s, offset + s, dtype=torch.bool).tril(offset) if past else None
    kept = []
    for layer, block in enumerate(transformer.h):
        qkv = adapted_qkv(block.attn.c_attn, block.ln_1(x), with_lora)
        q, k, v = (t.view(b, s, heads, -1).transpose(1, 2) for t in qkv.chunk(3, -1))
        kept.append((k, v))
        if past:
            k, v = (torch.cat([p.expand(b, -1, -1, -1), t], 2) for p, t in zip(past[layer], (k, v)))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + block.attn.c_proj(mixed.transpose(1, 2).reshape(b, s, -1))
        x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate="tanh"))
    return transformer.ln_f(x), kept


def best_log_probs(attacker, prompt, attacks, with_lora=True):
    """log pi [B] and the meta-prompt's hidden states [P, D], the meta-prompt computed once."""
    transformer = attacker.model.base_model.model.transformer
    shared, past = run_blocks(transformer, prompt[None, :-1], None, with_lora)
    stream = torch.cat([prompt[-1].expand(len(attacks), 1), attacks[:, :-1]], 1)
    hidden, _ = run_blocks(transformer, stream, past, with_lora)
    logits = F.linear(hidden, transformer.wte.weight)
    ban = torch.zeros(logits.shape[1:], dtype=logits.dtype)
    ban[0, attacker.end_id] = -1e9
    log_probs = -F.cross_entropy((logits + ban).flatten(0, 1), attacks.flatten(), reduction="none")
    return log_probs.view_as(attacks).sum(-1), torch.cat([shared[0], hidden[0, :1]])


def best_loss(attacker, prompt, attacks, log_rewards):
    log_pi, hidden = best_log_probs(attacker, prompt, attacks)
    log_z = attacker.head(hidden.mean(0)).squeeze()
    return (log_z + log_pi - log_rewards).pow(2).mean()


LOSSES = {"research": research_loss, "best": best_loss}
