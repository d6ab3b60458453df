"""SmolLM2 generation through llama.cpp: one context, one sequence a row, every step one batch of all rows."""

import ctypes
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

SILENT = llama_cpp.llama_log_callback(lambda level, text, data: None)


def requantised(path, file_type):
    """Path of a temporary copy of the model in another GGUF file type; removed with the process's folder."""
    folder = tempfile.TemporaryDirectory(prefix="floodgate-peer-")
    requantised.folder = folder
    target = Path(folder.name) / f"{file_type}.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.allow_requantize = True
    params.ftype = {
        "q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
        "q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
        "f32": llama_cpp.LLAMA_FTYPE_ALL_F32,
    }[file_type]
    llama_cpp.llama_log_set(SILENT, ctypes.c_void_p(0))
    code = llama_cpp.llama_model_quantize(str(path).encode(), str(target).encode(), ctypes.byref(params))
    if code != 0:
        raise RuntimeError(f"llama.cpp could not re-quantise {path.name}: code {code}")
    return target


class LlamaGenerator:
    def __init__(self, path, threads, batch, length):
        llama_cpp.llama_log_set(SILENT, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = batch * max(256, length)
        params.n_batch = params.n_ubatch = batch * max(length, 1)
        params.n_seq_max = batch
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp could not make a context")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def decode(self, tokens, positions, rows, wants_logits):
        """One llama_decode call over parallel lists of token, position, row and whether its logits are read."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, row, wants) in enumerate(zip(tokens, positions, rows, wants_logits)):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wants
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
        code = llama_cpp.llama_decode(self.context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code}")

    def samplers(self, run, batch):
        """One chain a row: temperature, top-p, then a draw from the row's own stream."""
        chains = []
        for row in range(batch):
            chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
            llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(0.7))
            llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_p(0.95, 1))
            llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(run * batch + row))
            chains.append(chain)
        return chains

    def generate(self, run, batch, prompt_tokens, new_tokens):
        """The number of tokens written after `batch` random prompts."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        prompts = np.random.default_rng(run).integers(100, self.vocab, (batch, prompt_tokens))
        chains, rows, written = self.samplers(run, batch), range(batch), 0
        positions = list(range(prompt_tokens)) * batch
        owners = [row for row in rows for _ in range(prompt_tokens)]
        self.decode(prompts.flatten().tolist(), positions, owners, [p == prompt_tokens - 1 for p in positions])
        outputs = [(row + 1) * prompt_tokens - 1 for row in rows]
        for step in range(new_tokens):
            tokens = [llama_cpp.llama_sampler_sample(chains[row], self.context, outputs[row]) for row in rows]
            written += len(tokens)
            if step + 1 < new_tokens:
                self.decode(tokens, [prompt_tokens + step] * batch, rows, [True] * batch)
                outputs = list(rows)
        for chain in chains:
            llama_cpp.llama_sampler_free(chain)
        return written
