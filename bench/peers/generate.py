"""Peer of generation: SmolLM2-135M-Instruct from its GGUF file, 32 new tokens after 30, sampled, no early end.

python bench/peers/generate.py --backend transformers|llama-cpp --batch 1|16|80 --gguf PATH [--file-type q4_0]
(protocol.py says how it is driven.) Prompts are random token ids. Temperature 0.7, top-p 0.95. transformers runs in
fp32; llama.cpp runs the file's own Q4_1, or with --file-type a re-quantised copy (same speed as a direct one, worse
text). Adds `newTokens` and `tokensPerSecond`.
"""

import sys
import time
from pathlib import Path

from protocol import peer_arguments, serve

TEMPERATURE, TOP_P = 0.7, 0.95


def load_backend(arguments):
    if arguments.backend == "transformers":
        from generate_transformers import TransformersGenerator

        return TransformersGenerator(arguments.gguf, arguments.threads), ["torch", "transformers", "gguf"]
    from generate_llama import LlamaGenerator, requantised

    path = requantised(arguments.gguf, arguments.file_type) if arguments.file_type else arguments.gguf
    sequences = (arguments.batch, arguments.prompt_tokens + arguments.new_tokens)
    return LlamaGenerator(path, arguments.threads, *sequences), ["llama_cpp_python", "numpy"]


def main():
    arguments = peer_arguments(
        __doc__.splitlines()[0],
        ("--backend", {"choices": ["transformers", "llama-cpp"], "required": True}),
        ("--gguf", {"type": Path, "required": True}),
        ("--file-type", {"choices": ["q4_0", "q8_0", "f32"], "help": "llama-cpp only: re-quantise first"}),
        ("--batch", {"type": int, "default": 16}),
        ("--prompt-tokens", {"type": int, "default": 30}),
        ("--new-tokens", {"type": int, "default": 32}),
    )
    if arguments.small:
        arguments.batch, arguments.prompt_tokens, arguments.new_tokens = min(arguments.batch, 2), 4, 4
    generator, packages = load_backend(arguments)

    def run(index):
        start = time.perf_counter()
        written = generator.generate(index, arguments.batch, arguments.prompt_tokens, arguments.new_tokens)
        seconds = time.perf_counter() - start
        if written != arguments.batch * arguments.new_tokens:
            sys.exit(f"wrote {written} tokens, expected {arguments.batch * arguments.new_tokens}")
        return {"newTokens": written, "tokensPerSecond": written / seconds}

    settings = vars(arguments) | {"gguf": arguments.gguf.name, "temperature": TEMPERATURE, "topP": TOP_P}
    kind = f"-{arguments.file_type or 'q4_1'}" if arguments.backend == "llama-cpp" else ""
    serve(f"generate-{arguments.backend}{kind}-{arguments.batch}", packages, settings, run)


if __name__ == "__main__":
    main()
