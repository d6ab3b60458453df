"""Plain-torch decoders in any dtype, written from the model descriptions and independent of Floodgate.

`transformers` casts RMSNorm, RoPE and the attention softmax of Llama-like models to float32, so it cannot
give float64 golden values for them. These functions can; every script that uses them first checks them
against `transformers` in float32 (see `check_against_transformers`).

Weights are a dict of tensors under their `transformers` names. LoRA is a dict
`{"<module path>": (A [in, r], B [r, out])}`; the adapted projection is x W + b + scale (x A) B.
"""

import math
import sys

import torch


def header(script, seed):
    """The origin that every golden file records."""
    import transformers

    return {
        "script": f"lab/golden/{script}",
        "seed": seed,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


class Linears:
    """The projections of one model, with LoRA where `lora` names the module."""

    def __init__(self, weights, lora=None, scale=0.0, in_out=False):
        self.weights, self.lora, self.scale, self.in_out = weights, lora or {}, scale, in_out

    def __call__(self, path, x):
        w = self.weights[f"{path}.weight"]
        y = x @ (w if self.in_out else w.T)
        if f"{path}.bias" in self.weights:
            y = y + self.weights[f"{path}.bias"]
        if path in self.lora:
            a, b = self.lora[path]
            y = y + self.scale * ((x @ a) @ b)
        return y


def causal_attention(q, k, v, scale, window=None):
    """q, k, v [B, H, S, K] -> [B, S, H*K]. Right padding needs no mask: no valid row looks right.

    With a window, a token sees itself and the `window - 1` tokens before it.
    """
    s = q.shape[2]
    scores = q @ k.transpose(-1, -2) * scale
    hidden = torch.ones(s, s, dtype=torch.bool).triu(1)
    if window is not None:
        hidden |= torch.ones(s, s, dtype=torch.bool).tril(-window)
    probs = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return (probs @ v).transpose(1, 2).reshape(q.shape[0], s, -1)


def split_heads(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def layer_norm(x, weights, path, eps):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * weights[f"{path}.weight"] + weights[f"{path}.bias"]


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gpt2_hidden(config, weights, ids, lora=None, scale=0.0):
    """Final-norm hidden states [B, S, D] of a GPT-2 (Conv1D weights `[in, out]`)."""
    linear = Linears(weights, lora, scale, in_out=True)
    heads, eps = config["n_head"], config["layer_norm_epsilon"]
    x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][: ids.shape[1]]
    for layer in range(config["n_layer"]):
        at = f"transformer.h.{layer}"
        h = layer_norm(x, weights, f"{at}.ln_1", eps)
        q, k, v = (split_heads(t, heads) for t in linear(f"{at}.attn.c_attn", h).chunk(3, -1))
        mixed = causal_attention(q, k, v, 1 / math.sqrt(q.shape[-1]))
        x = x + linear(f"{at}.attn.c_proj", mixed)
        h = layer_norm(x, weights, f"{at}.ln_2", eps)
        x = x + linear(f"{at}.mlp.c_proj", gelu_tanh(linear(f"{at}.mlp.c_fc", h)))
    return layer_norm(x, weights, "transformer.ln_f", eps)


def rope_frequencies(config, head_width):
    """(inverse frequencies [K/2] in float64, factor on cos and sin) for none, linear, llama3 and yarn."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", "default")
    base = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    inverse = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    if kind == "default":
        return inverse, 1.0
    if kind == "linear":
        return inverse / rope["factor"], 1.0
    if kind == "llama3":
        return llama3_frequencies(inverse, rope), 1.0
    if kind == "yarn":
        return yarn_frequencies(inverse, rope, base, head_width)
    raise ValueError(f"unknown rope type {kind}")


def llama3_frequencies(inverse, rope):
    """Low frequencies divided by the factor, high ones kept, a linear blend between."""
    original, low, high = (
        rope["original_max_position_embeddings"],
        rope["low_freq_factor"],
        rope["high_freq_factor"],
    )
    turns = original * inverse / (2 * math.pi)
    blend = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * inverse / rope["factor"] + blend * inverse


def yarn_frequencies(inverse, rope, base, head_width):
    """Interpolated frequencies below the ramp, kept ones above; attention factor 0.1 ln(factor) + 1."""
    original = rope["original_max_position_embeddings"]

    def dimension_of(turns):
        return head_width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension_of(rope.get("beta_fast") or 32)), 0)
    high = min(math.ceil(dimension_of(rope.get("beta_slow") or 1)), head_width - 1)
    high = high if high != low else high + 0.001
    ramp = ((torch.arange(head_width // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    factor = rope.get("attention_factor")
    factor = 0.1 * math.log(rope["factor"]) + 1 if factor is None else factor
    return inverse / rope["factor"] * ramp + inverse * (1 - ramp), factor


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin


def llama_hidden(config, weights, ids, lora=None, scale=0.0):
    """Final-norm hidden states [B, S, D] of a Llama-like model (weights `[out, in]`)."""
    linear = Linears(weights, lora, scale)
    heads, kv_heads, eps = config["num_attention_heads"], config["num_key_value_heads"], config["rms_norm_eps"]
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    x = weights["model.embed_tokens.weight"][ids]
    inverse, factor = rope_frequencies(config, head_width)
    angles = torch.outer(torch.arange(ids.shape[1], dtype=torch.float64), inverse)
    angles = torch.cat([angles, angles], -1)
    cos, sin = (angles.cos() * factor).to(x.dtype), (angles.sin() * factor).to(x.dtype)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        h = rms_norm(x, weights[f"{at}.input_layernorm.weight"], eps)
        q = split_heads(linear(f"{at}.self_attn.q_proj", h), heads)
        k = split_heads(linear(f"{at}.self_attn.k_proj", h), kv_heads)
        v = split_heads(linear(f"{at}.self_attn.v_proj", h), kv_heads)
        if f"{at}.self_attn.q_norm.weight" in weights:
            q = rms_norm(q, weights[f"{at}.self_attn.q_norm.weight"], eps)
            k = rms_norm(k, weights[f"{at}.self_attn.k_norm.weight"], eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        mixed = causal_attention(q, k, v, 1 / math.sqrt(head_width))
        x = x + linear(f"{at}.self_attn.o_proj", mixed)
        h = rms_norm(x, weights[f"{at}.post_attention_layernorm.weight"], eps)
        gate = linear(f"{at}.mlp.gate_proj", h)
        x = x + linear(f"{at}.mlp.down_proj", gate * torch.sigmoid(gate) * linear(f"{at}.mlp.up_proj", h))
    return rms_norm(x, weights["model.norm.weight"], eps)


def rotary_tables(config, rope, positions, dtype):
    """cos and sin [positions, K] of one kind of layer."""
    inverse, factor = rope_frequencies({"rope_parameters": rope}, config["head_dim"])
    angles = torch.outer(torch.arange(positions, dtype=torch.float64), inverse)
    angles = torch.cat([angles, angles], -1)
    return (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)


def gemma3_hidden(config, weights, ids, lora=None, scale=0.0):
    """Final-norm hidden states [B, S, D] of a Gemma 3 (weights `[out, in]`, norm gains 1 + weight)."""
    linear = Linears(weights, lora, scale)
    heads, kv_heads, eps = config["num_attention_heads"], config["num_key_value_heads"], config["rms_norm_eps"]
    norm = lambda x, path: rms_norm(x, 1 + weights[f"{path}.weight"], eps)
    x = weights["model.embed_tokens.weight"][ids] * math.sqrt(config["hidden_size"])
    tables = {k: rotary_tables(config, r, ids.shape[1], x.dtype) for k, r in config["rope_parameters"].items()}
    for layer, kind in enumerate(config["layer_types"]):
        at = f"model.layers.{layer}"
        h = norm(x, f"{at}.input_layernorm")
        q = norm(split_heads(linear(f"{at}.self_attn.q_proj", h), heads), f"{at}.self_attn.q_norm")
        k = norm(split_heads(linear(f"{at}.self_attn.k_proj", h), kv_heads), f"{at}.self_attn.k_norm")
        v = split_heads(linear(f"{at}.self_attn.v_proj", h), kv_heads)
        q, k = rotate(q, *tables[kind]), rotate(k, *tables[kind])
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        window = config["sliding_window"] if kind == "sliding_attention" else None
        mixed = causal_attention(q, k, v, config["query_pre_attn_scalar"] ** -0.5, window)
        x = x + norm(linear(f"{at}.self_attn.o_proj", mixed), f"{at}.post_attention_layernorm")
        h = norm(x, f"{at}.pre_feedforward_layernorm")
        inner = gelu_tanh(linear(f"{at}.mlp.gate_proj", h)) * linear(f"{at}.mlp.up_proj", h)
        x = x + norm(linear(f"{at}.mlp.down_proj", inner), f"{at}.post_feedforward_layernorm")
    return norm(x, "model.norm")


FORWARDS = {"gpt2": gpt2_hidden, "gemma3_text": gemma3_hidden}


def hidden_states(config, weights, ids, lora=None, scale=0.0):
    return FORWARDS.get(config["model_type"], llama_hidden)(config, weights, ids, lora, scale)


def output_matrix(config, weights):
    """[V, D]: the head, or the embedding table it is tied to."""
    if "lm_head.weight" in weights:
        return weights["lm_head.weight"]
    table = "transformer.wte.weight" if config["model_type"] == "gpt2" else "model.embed_tokens.weight"
    return weights[table]


def decoder_weights(model, dtype=torch.float64):
    """The model's parameters under their names, the tied head left out."""
    tied = model.config.tie_word_embeddings
    return {
        name: tensor.detach().to(dtype).clone()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def randomise(model, seed, std=0.3):
    """Replaces every parameter: matrices N(0, std), norm gains 1 + N(0, 0.2), biases N(0, 0.2), all fp32.

    Gemma's gains are 1 + weight, so there the weight is N(0, 0.2).
    """
    gain = 0 if model.config.model_type == "gemma3_text" else 1
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            is_gain = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(gain + 0.2 * noise if is_gain else noise * (std if parameter.dim() > 1 else 0.2))


def check_against_transformers(model, config, ids, tolerance=1e-4):
    """Raises unless these functions in float64 give the logits of `transformers` (a float32 model)."""
    weights = decoder_weights(model)
    ours = hidden_states(config, weights, ids) @ output_matrix(config, weights).T
    with torch.no_grad():
        theirs = model.eval()(input_ids=ids).logits.double()
    error = (ours - theirs).abs().max().item()
    if not error <= tolerance:
        raise AssertionError(f"reference decoder differs from transformers by {error}")
    return error
