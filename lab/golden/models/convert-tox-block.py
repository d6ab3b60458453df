"""Writes assets/judges/tox-block.onnx and tox-block-vocabulary.bin from the packaged tox-block 0.1.2 (MIT).

    pip download --no-deps tox-block==0.1.2
    python lab/golden/models/convert-tox-block.py tox_block-0.1.2-py3-none-any.whl

Run with python 3.11+ in a virtual environment with onnx 1.23 and numpy 2.4 (no randomness).

The Keras model becomes eleven ONNX nodes: ids [B, T] -> six probabilities [B, 6]. T is 100 in use: the model was
trained on texts padded with zeros on the left, and its LSTM runs over the padding (no mask). Two traps: the recurrent
activation is Keras's hard_sigmoid (0.2 x + 0.5), whose alpha and beta ONNX takes one value per activation *that has
one*; and Keras orders gates i, f, c, o where ONNX wants i, o, f, c. The .h5 datasets are contiguous and the wheel is
pinned, so they are read at fixed offsets, without an HDF5 library. The word embedding is rounded to float16: half the
size, worst change in a probability found: 1.8e-4.
"""

import io
import os
import pickle
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from judge_asset import hash_terms, open_wheel, report, write_safetensors

WHEEL_SHA256 = "ed3a934f77d456f5324a6ae1b55bd9a3d404f6ebdb30aedad73dea5a2f01b7ed"
ASSETS = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", "assets", "judges"))
WORDS, WIDTH, UNITS, LABELS = 20000, 50, 50, 6
#: name -> (offset in the .h5, shape)
DATASETS = {
    "embedding": (10280, (WORDS, WIDTH)),
    "forward": [(4014040, (WIDTH, 4 * UNITS)), (4056088, (UNITS, 4 * UNITS)), (4096088, (4 * UNITS,))],
    "backward": [(4096888, (WIDTH, 4 * UNITS)), (4138936, (UNITS, 4 * UNITS)), (4178936, (4 * UNITS,))],
    "dense": [(4183032, (2 * UNITS, UNITS)), (4179736, (UNITS,))],
    "output": [(4206304, (UNITS, LABELS)), (4179936, (LABELS,))],
}


class VocabularyUnpickler(pickle.Unpickler):
    """Reads the Keras tokenizer's state without Keras: its classes become empty ones, nothing else may be named."""

    def find_class(self, module: str, name: str):
        if module == "collections" and name in ("OrderedDict", "defaultdict"):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "int"):
            return int
        if name in ("TokenSequencer", "Tokenizer"):
            return type(name, (), {})
        raise pickle.UnpicklingError(f"{module}.{name} is not expected")


def onnx_gates(matrix: np.ndarray) -> np.ndarray:
    """Keras [.., i f c o] -> ONNX [i o f c, ..] rows."""
    i, f, c, o = np.split(matrix, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1).T


def lstm_tensors(h5: bytes) -> dict[str, np.ndarray]:
    sides = [[read(h5, place) for place in DATASETS[side]] for side in ("forward", "backward")]
    return {
        "lstm_w": np.stack([onnx_gates(kernel) for kernel, _, _ in sides]),
        "lstm_r": np.stack([onnx_gates(recurrent) for _, recurrent, _ in sides]),
        "lstm_b": np.stack([np.concatenate([onnx_gates(bias), np.zeros(4 * UNITS, "<f4")]) for _, _, bias in sides]),
    }


def read(h5: bytes, place: tuple[int, tuple[int, ...]]) -> np.ndarray:
    offset, shape = place
    return np.frombuffer(h5, "<f4", int(np.prod(shape)), offset).reshape(shape)


def build_graph(h5: bytes) -> onnx.ModelProto:
    tensors = lstm_tensors(h5)
    tensors["embedding"] = read(h5, DATASETS["embedding"]).astype(np.float16)
    tensors["dense_w"], tensors["dense_b"] = (read(h5, place) for place in DATASETS["dense"])
    tensors["output_w"], tensors["output_b"] = (read(h5, place) for place in DATASETS["output"])
    tensors["pooled_shape"] = np.array([-1, 2 * UNITS], np.int64)
    tensors["time_axis"] = np.array([0], np.int64)
    nodes = [
        helper.make_node("Transpose", ["ids"], ["ids_tb"], perm=[1, 0]),  # [T, B]
        helper.make_node("Gather", ["embedding", "ids_tb"], ["x16"], axis=0),  # [T, B, 50]
        helper.make_node("Cast", ["x16"], ["x"], to=TensorProto.FLOAT),
        helper.make_node(
            "LSTM", ["x", "lstm_w", "lstm_r", "lstm_b"], ["y"], hidden_size=UNITS, direction="bidirectional",
            activations=["HardSigmoid", "Tanh", "Tanh"] * 2, activation_alpha=[0.2, 0.2], activation_beta=[0.5, 0.5],
        ),  # [T, 2, B, 50]
        helper.make_node("ReduceMax", ["y", "time_axis"], ["pooled_sides"], keepdims=0),  # [2, B, 50]
        helper.make_node("Transpose", ["pooled_sides"], ["pooled_b"], perm=[1, 0, 2]),  # [B, 2, 50]
        helper.make_node("Reshape", ["pooled_b", "pooled_shape"], ["pooled"]),  # [B, 100]
        helper.make_node("Gemm", ["pooled", "dense_w", "dense_b"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "output_w", "output_b"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),  # [B, 6]
    ]
    graph = helper.make_graph(
        nodes, "tox-block",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "tokens"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="floodgate")
    helper.set_model_props(model, {
        "source": "tox-block 0.1.2", "sourceSha256": WHEEL_SHA256, "licence": "MIT, see NOTICE.md",
        "labels": "toxic,severe_toxic,obscene,threat,insult,identity_hate",
    })
    onnx.checker.check_model(model, full_check=True)
    return model


def main(wheel_path: str) -> None:
    with open_wheel(wheel_path, WHEEL_SHA256) as wheel:
        h5 = wheel.read("tox_block/trained_models/lstm_model_0.1.2.h5")
        encoder = VocabularyUnpickler(io.BytesIO(wheel.read("tox_block/trained_models/encoder_0.1.2.pkl"))).load()
    tokenizer = encoder.tokenizer
    assert tokenizer.num_words == WORDS and tokenizer.filters == '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
    path = os.path.join(ASSETS, "tox-block.onnx")
    onnx.save(build_graph(h5), path)
    report(path)

    words = {index: word for word, index in tokenizer.word_index.items() if index < WORDS}
    assert sorted(words) == list(range(1, WORDS))
    write_safetensors(
        os.path.join(ASSETS, "tox-block-vocabulary.bin"),
        {"termHash": hash_terms([words[index] for index in range(1, WORDS)])},  # row i is the embedding's row i + 1
        {"source": "tox-block 0.1.2", "sourceSha256": WHEEL_SHA256, "licence": "MIT, see NOTICE.md",
         "hash": "FNV-1a 64 of UTF-8"},
    )


if __name__ == "__main__":
    main(sys.argv[1])
