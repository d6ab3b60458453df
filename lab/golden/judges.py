"""Golden scores of the two packaged judges on 1,000 texts: test/golden/judges/*.json.

    pip download --no-deps alt-profanity-check==1.9.1 tox-block==0.1.2
    python lab/golden/judges.py alt_profanity_check-1.9.1-py3-none-any.whl tox_block-0.1.2-py3-none-any.whl

Run with python 3.11+ in a virtual environment with scikit-learn 1.9.1, joblib 1.6.0, numpy 2.4, h5py 3.16. Seed 20251.

The texts are made from test/golden/judges/words.json by a 32-bit xorshift generator, the same in
test/judges/golden-texts.ts; the sha256 of all of them is stored, so a drifted generator is found at once.
alt-profanity-check runs as it is (its own pickles in scikit-learn). tox-block runs in float64 numpy from its .h5
(read by h5py, so not by the fixed offsets of convert-tox-block.py), first proved on the texts of the package's own
README; that README is read from the wheel, because its examples do not belong in this repository.
"""

import base64
import hashlib
import io
import json
import os
import pickle
import re
import sys
import zipfile

import h5py
import joblib
import numpy as np

SEED = 20251
TEXTS = 1000
ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
GOLDEN = os.path.normpath(os.path.join(ROOT, "test", "golden", "judges"))
WHEEL_SHA256 = {
    "alt_profanity_check": "cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3",
    "tox_block": "ed3a934f77d456f5324a6ae1b55bd9a3d404f6ebdb30aedad73dea5a2f01b7ed",
}
LABELS = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
RESCALE = np.array([
    (0.002116, 0.999858), (0.000011, 0.648682), (0.000347, 0.997533),
    (0.000040, 0.918887), (0.000373, 0.986303), (0.000074, 0.901117),
])


class XorShift32:
    def __init__(self, seed: int):
        self.state = seed

    def below(self, bound: int) -> int:
        s = self.state
        s = (s ^ (s << 13)) & 0xFFFFFFFF
        s ^= s >> 17
        s = (s ^ (s << 5)) & 0xFFFFFFFF
        self.state = s
        return s % bound


def golden_texts() -> list[str]:
    with open(os.path.join(GOLDEN, "words.json"), encoding="utf-8") as file:
        lists = json.load(file)
    random = XorShift32(SEED)
    texts = []
    for i in range(TEXTS):
        length = 90 + random.below(90) if i % 50 == 0 else random.below(24)  # some longer than 100 words, some empty
        pieces = []
        for _ in range(length):
            kind = random.below(20)
            name = "rude" if kind < 3 else "odd" if kind < 5 else "polite"
            word = lists[name][random.below(len(lists[name]))]
            case = random.below(8)
            pieces.append(word.upper() if case == 0 else word)
            pieces.append(lists["separators"][random.below(len(lists["separators"]))])
        texts.append("".join(pieces))
    return texts


def open_wheel(path: str, name: str) -> zipfile.ZipFile:
    with open(path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == WHEEL_SHA256[name], f"{path} is not the pinned wheel"
    return zipfile.ZipFile(path)


def profanity_scores(wheel: zipfile.ZipFile, texts: list[str]) -> np.ndarray:
    vectorizer = joblib.load(io.BytesIO(wheel.read("profanity_check/data/vectorizer.joblib")))
    model = joblib.load(io.BytesIO(wheel.read("profanity_check/data/model.joblib")))
    return model.predict_proba(vectorizer.transform(texts))[:, 1]


class VocabularyUnpickler(pickle.Unpickler):
    """Reads the Keras tokenizer's state without Keras: its classes become empty ones, nothing else may be named."""

    def find_class(self, module: str, name: str):
        if module == "collections":
            return super().find_class(module, name)
        if (module, name) == ("builtins", "int"):
            return int
        if name in ("TokenSequencer", "Tokenizer"):
            return type(name, (), {})
        raise pickle.UnpicklingError(f"{module}.{name} is not expected")


class ToxBlock:
    def __init__(self, wheel: zipfile.ZipFile):
        encoder = VocabularyUnpickler(io.BytesIO(wheel.read("tox_block/trained_models/encoder_0.1.2.pkl"))).load()
        self.tokenizer = encoder.tokenizer
        assert self.tokenizer.lower and not self.tokenizer.char_level and self.tokenizer.oov_token is None
        with h5py.File(io.BytesIO(wheel.read("tox_block/trained_models/lstm_model_0.1.2.h5"))) as file:
            weights = file["model_weights"]
            read = lambda name: weights[name][()].astype(np.float64)  # noqa: E731
            self.embedding = read("embedding/embedding/embeddings:0")
            self.lstm = [
                [read(f"bidirectional/bidirectional/{side}_lstm/{part}:0") for part in ("kernel", "recurrent_kernel", "bias")]
                for side in ("forward", "backward")
            ]
            self.dense = [read("dense/dense/kernel:0"), read("dense/dense/bias:0")]
            self.output = [read("dense_1/dense_1/kernel:0"), read("dense_1/dense_1/bias:0")]

    def tokens(self, text: str) -> list[int]:
        """keras_preprocessing's text_to_word_sequence, then texts_to_sequences and pad_sequences(maxlen=100)."""
        text = text.lower().translate({ord(c): " " for c in self.tokenizer.filters})
        ids = [self.tokenizer.word_index.get(word, 0) for word in text.split(" ") if word]
        ids = [i for i in ids if 0 < i < self.tokenizer.num_words][-100:]
        return [0] * (100 - len(ids)) + ids

    def scores(self, texts: list[str], embedding: np.ndarray) -> np.ndarray:
        x = embedding[np.array([self.tokens(text) for text in texts])]  # [B, 100, 50]
        states = [run_lstm(x, *self.lstm[0]), run_lstm(x[:, ::-1], *self.lstm[1])]
        pooled = np.concatenate([state.max(axis=1) for state in states], axis=1)  # [B, 100]
        hidden = np.maximum(pooled @ self.dense[0] + self.dense[1], 0)
        return 1 / (1 + np.exp(-(hidden @ self.output[0] + self.output[1])))


def run_lstm(x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Keras LSTM, gates in the order i, f, c, o, recurrent activation hard_sigmoid; returns every output [B, T, 50]."""
    gate = lambda z: np.clip(0.2 * z + 0.5, 0, 1)  # noqa: E731
    h = c = np.zeros((x.shape[0], 50))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def rescale(scores: np.ndarray) -> np.ndarray:
    return np.abs(scores - RESCALE[:, 0]) / (RESCALE[:, 1] - RESCALE[:, 0])


def check_readme(wheel: zipfile.ZipFile, model: ToxBlock) -> None:
    """The three predictions printed in the package's README, in its own digits."""
    readme = wheel.read("tox_block-0.1.2.dist-info/METADATA").decode("utf-8")
    block = readme[readme.index("{\n0: {"):]
    found = re.findall(r"'text': (?:\"([^\"]*)\"|'([^']*)'),((?:\s*'\w+': [\d.e-]+,?)+)", block)
    assert len(found) == 3, found
    for double, single, numbers in found:
        expected = np.array([float(n) for n in re.findall(r": ([\d.e-]+)", numbers)])
        error = np.abs(rescale(model.scores([double or single], model.embedding))[0] - expected)
        print("README example, largest difference:", error.max())
        assert error.max() < 2e-6


def encode(scores: np.ndarray) -> str:
    return base64.b64encode(scores.astype("<f4").tobytes()).decode("ascii")


def write(name: str, content: dict) -> None:
    path = os.path.join(GOLDEN, name)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")
    assert os.path.getsize(path) < 65536
    print(path, os.path.getsize(path))


def main(profanity_wheel: str, tox_wheel: str) -> None:
    texts = golden_texts()
    about = {"seed": SEED, "texts": TEXTS, "sha256": hashlib.sha256("\0".join(texts).encode("utf-8")).hexdigest()}
    with open_wheel(profanity_wheel, "alt_profanity_check") as wheel:
        scores = profanity_scores(wheel, texts)
    print("profanity: mean", scores.mean(), "above 0.5:", (scores > 0.5).mean())
    write("profanity.json", {**about, "float32": encode(scores)})

    with open_wheel(tox_wheel, "tox_block") as wheel:
        model = ToxBlock(wheel)
        check_readme(wheel, model)
    raw = model.scores(texts, model.embedding)
    rounded = model.scores(texts, model.embedding.astype(np.float16).astype(np.float64))
    print("tox-block: mean", raw.mean(axis=0), "largest effect of the float16 embedding:", np.abs(raw - rounded).max())
    write("tox-block.json", {**about, "labels": LABELS, "float32": encode(raw)})
    write("tox-block-float16.json", {**about, "labels": LABELS, "float32": encode(rounded)})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
