"""Golden values for src/metrics, from independent implementations.

Versions: numpy 2.4.6, scipy 1.17.1, statsmodels 0.15.0, nltk 3.10.4 (Python 3). Seed: 20240518.
Run with python in a virtual environment with these packages, from the repository root:
    python lab/golden/metrics.py
Writes test/golden/metrics/metrics.json.
"""

import base64
import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

rng = np.random.default_rng(20240518)


def quantiles():
    probabilities = [1e-6, 0.025, 0.1, 0.5, 0.9, 0.975, 0.995, 0.9995, 0.9999999]
    degrees = [0.5, 1, 2, 3, 4, 9, 29.5, 100, 1000, 1e5]
    return {
        "normal": [[p, stats.norm.ppf(p)] for p in probabilities],
        "studentT": [[p, df, stats.t.ppf(p, df)] for p in probabilities for df in degrees if p != 0.5],
    }


def wilson():
    cases = [(0, 1), (1, 1), (0, 20), (20, 20), (3, 10), (471, 1024), (1023, 1024), (1, 1000000)]
    return [
        [k, n, confidence, *map(float, proportion_confint(k, n, alpha=1 - confidence, method="wilson"))]
        for k, n in cases
        for confidence in (0.9, 0.95, 0.99)
    ]


def t_intervals():
    rows = []
    for n in (2, 3, 5, 12):
        values = rng.normal(0.4, 0.1, n)
        low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
        rows.append({"values": values.tolist(), "mean": values.mean(), "low": low, "high": high})
    return rows


def kappas():
    tables = [[[20, 5], [10, 15]], [[3, 0], [0, 9]], [[1, 7], [6, 2]]]
    return [{"table": table, "kappa": float(cohens_kappa(np.array(table)).kappa)} for table in tables]


WORDS = (
    "the a tell me about how to why when you my neighbour teacher cat dog river mountain bread cheese song story "
    "don't can't secret joke rude funny old quiet loud please now again , . ? !"
).split()


def texts():
    weights = 1 / (np.arange(len(WORDS)) + 2)
    made = [
        " ".join(rng.choice(WORDS, size=int(rng.integers(1, 16)), p=weights / weights.sum())) for _ in range(60)
    ]
    made += [made[3], made[7] + " please", "", "xylophone quartz", "Tell ME about the Cat"]
    return made


def tokens(text):
    return re.findall(r"[a-z0-9]+(?:'[a-z0-9]+)*|[^\sa-z0-9]", text.lower())


def self_bleu(all_texts):
    documents = [tokens(text) for text in all_texts]
    smooth = SmoothingFunction().method1
    by_order = {}
    for k in (2, 3, 4, 5):
        scores = [
            sentence_bleu(documents[:i] + documents[i + 1 :], document, weights=[1 / k] * k, smoothing_function=smooth)
            if document
            else 0.0
            for i, document in enumerate(documents)
        ]
        by_order[k] = float(np.mean(scores))
    return {"byOrder": by_order, "value": float(np.mean(list(by_order.values())))}


def lexical(all_texts):
    documents = [tokens(text) for text in all_texts]
    unigrams = [word for document in documents for word in document]
    bigrams = [pair for document in documents for pair in zip(document, document[1:])]
    return {
        "distinct1": len(set(unigrams)) / len(unigrams),
        "distinct2": len(set(bigrams)) / len(bigrams),
        "vocabulary": len(set(unigrams)),
    }


def embeddings(rows, width):
    centres = rng.normal(size=(max(2, rows // 4), width))
    matrix = centres[rng.integers(0, len(centres), rows)] + rng.normal(size=(rows, width)) * 0.4
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    wide = matrix.astype(np.float64)
    gram = wide @ wide.T
    pairs = gram[np.triu_indices(rows, 1)]
    eigenvalues = np.linalg.eigvalsh(gram / rows)
    shares = eigenvalues[eigenvalues > 1e-12]
    shares = shares / shares.sum()
    representatives, clusters = [], []
    for i in range(rows):
        cosines = [gram[i, r] for r in representatives]
        if all(cosine <= 0.75 for cosine in cosines):
            representatives.append(i)
            clusters.append([i])
        else:
            clusters[int(np.argmax(cosines))].append(i)
    return {
        "rows": rows,
        "width": width,
        "data": base64.b64encode(matrix.tobytes()).decode(),
        "meanCosineDistance": float(1 - pairs.mean()),
        "vendi": float(np.exp(-(shares * np.log(shares)).sum())),
        "clusters": clusters,
    }


def eigenvalues(n):
    matrix = rng.normal(size=(n, n)).round(3)
    matrix = (matrix + matrix.T) / 2
    return {"n": n, "matrix": matrix.ravel().tolist(), "eigenvalues": np.linalg.eigvalsh(matrix).tolist()}


all_texts = texts()
golden = {
    "origin": {
        "script": "lab/golden/metrics.py",
        "seed": 20240518,
        "versions": {name: version(name) for name in ("numpy", "scipy", "statsmodels", "nltk")},
    },
    "quantiles": quantiles(),
    "wilson": wilson(),
    "tIntervals": t_intervals(),
    "kappas": kappas(),
    "texts": all_texts,
    "selfBleu": self_bleu(all_texts),
    "lexical": lexical(all_texts),
    "embeddings": [embeddings(60, 12), embeddings(24, 48), embeddings(30, 30)],
    "eigenvalues": [eigenvalues(n) for n in (1, 2, 3, 17)],
}
path = Path("test/golden/metrics/metrics.json")
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(golden) + "\n")
