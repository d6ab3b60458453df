"""Golden values for the map of the report: rows on their first two principal axes.

Versions: scikit-learn 1.9.1, numpy 2.4.6 (Python 3). Seed: 20261124.
Run with python in a virtual environment with these packages, from the repository root:
    python lab/golden/principal_axes.py
Writes test/golden/report/principal-axes.json.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

rng = np.random.default_rng(20261124)
ROWS, WIDTH = 40, 12

# Unit rows, as encoders give them, around three centres.
centres = rng.normal(size=(3, WIDTH))
rows = centres[rng.integers(0, 3, ROWS)] + 0.4 * rng.normal(size=(ROWS, WIDTH))
rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
pca = PCA(n_components=2, svd_solver="full").fit(rows.astype(np.float64))

golden = {
    "origin": {
        "script": "lab/golden/principal_axes.py",
        "seed": 20261124,
        "versions": {name: version(name) for name in ("scikit-learn", "numpy")},
    },
    "width": WIDTH,
    "rows": rows.flatten().tolist(),
    # Signs of axes are arbitrary: the test compares up to them.
    "points": pca.transform(rows.astype(np.float64)).tolist(),
    "shownShare": float(pca.explained_variance_ratio_.sum()),
}
path = Path("test/golden/report/principal-axes.json")
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(golden) + "\n")
