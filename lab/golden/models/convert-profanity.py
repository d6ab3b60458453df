"""Writes assets/judges/profanity.bin from the packaged alt-profanity-check 1.9.1 (MIT).

    pip download --no-deps alt-profanity-check==1.9.1
    python lab/golden/models/convert-profanity.py alt_profanity_check-1.9.1-py3-none-any.whl

Run with python 3.11+ in a virtual environment with scikit-learn 1.9.1, joblib 1.6.0 and numpy 2.4 (no randomness).

The model: lower case, runs of two or more word characters, term counts x smoothed idf, L2 norm, then five linear
SVMs, each with its own sigmoid, averaged. Stop words are not in the vocabulary, so leaving them out needs no list.
Terms become hashes and are sorted by them; weights become float32 (worst error in P on the golden texts: 7e-8).
"""

import io
import os
import sys

import joblib
import numpy as np

from judge_asset import hash_terms, open_wheel, write_safetensors

WHEEL_SHA256 = "cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3"
ASSET = os.path.join(os.path.dirname(__file__), "..", "..", "assets", "judges", "profanity.bin")
EXPECTED = {
    "lowercase": True, "token_pattern": r"(?u)\b\w\w+\b", "strip_accents": None, "ngram_range": (1, 1),
    "norm": "l2", "sublinear_tf": False, "binary": False, "analyzer": "word", "stop_words": "english",
}


def main(wheel_path: str) -> None:
    with open_wheel(wheel_path, WHEEL_SHA256) as wheel:
        vectorizer = joblib.load(io.BytesIO(wheel.read("profanity_check/data/vectorizer.joblib")))
        model = joblib.load(io.BytesIO(wheel.read("profanity_check/data/model.joblib")))
    for key, value in EXPECTED.items():
        assert vectorizer.get_params()[key] == value, f"vectorizer.{key} is not {value}"
    stop_words = vectorizer.get_stop_words()
    assert not any(term in stop_words for term in vectorizer.vocabulary_), "a stop word is a term"
    assert model.method == "sigmoid" and list(model.classes_) == [0, 1]

    terms = sorted(vectorizer.vocabulary_)
    hashes = hash_terms(terms)
    order = np.argsort(hashes)
    columns = np.array([vectorizer.vocabulary_[terms[i]] for i in order])
    folds = [(fold.estimator, fold.calibrators[0]) for fold in model.calibrated_classifiers_]
    weights = np.stack([svm.coef_[0][columns] for svm, _ in folds])  # [folds, terms]
    # P = mean over folds of 1 / (1 + exp(a * (w.x + intercept) + b))
    sigmoids = np.array([[svm.intercept_[0], calibrator.a_, calibrator.b_] for svm, calibrator in folds])
    write_safetensors(
        os.path.normpath(ASSET),
        {
            "termHash": hashes[order],
            "sigmoid": sigmoids.astype("<f8"),  # [folds, (intercept, a, b)]
            "idf": vectorizer.idf_[columns].astype("<f4"),  # [terms]
            "weight": weights.astype("<f4"),  # [folds, terms]
        },
        {
            "source": "alt-profanity-check 1.9.1",
            "sourceSha256": WHEEL_SHA256,
            "licence": "MIT, see NOTICE.md",
            "hash": "FNV-1a 64 of UTF-8",
        },
    )


if __name__ == "__main__":
    main(sys.argv[1])
