"""Golden values for the estimates of unseen attacks and of the reference failure rate, from independent implementations.

Versions: numpy 2.4.6, scipy 1.17.1, arviz 0.21.0 (Python 3). Seed: 20240519.
Run with python in a virtual environment with these packages, from the repository root:
    python lab/golden/unseen.py
Writes test/golden/metrics/unseen.json.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from arviz.stats.stats import _gpdfit
from scipy import optimize, special, stats

rng = np.random.default_rng(20240519)
Z = stats.norm.ppf(0.975)


def gammas():
    shapes = [1e-3, 0.3, 1, 3.69, 20, 512.5, 20000]
    cdf = [[a, x, special.gammainc(a, x)] for a in shapes for x in (a * 0.01, a * 0.8, a, a * 1.3, a + 30)]
    quantile = [
        [p, df, stats.chi2.ppf(p, df)] for p in (0.025, 0.5, 0.975, 0.9999) for df in (0.7, 1, 2, 7.5, 40, 1023, 20000)
    ]
    return {"cdf": cdf, "chiSquare": quantile}


def missing_mass():
    """Bounds by root finding on the defining equation instead of the quadratic formula."""
    rows = []
    for n, f1, f2 in [(30, 0, 0), (30, 30, 0), (100, 37, 18), (256, 3, 0), (1024, 120, 54), (1, 1, 0)]:

        def excess(m):
            return (f1 - n * m) ** 2 - Z**2 * (n * m * (1 - m) + 2 * (f2 + 1.5))

        estimate = f1 / n
        low = 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, 0.0, estimate, xtol=1e-15)
        high = 1.0 if excess(1.0) <= 0 else optimize.brentq(excess, estimate, 1.0, xtol=1e-15)
        rows.append([n, f1, f2, low, high])
    return rows


def chao1():
    """Chao (1987), bias-corrected; the variance as printed in the EstimateS user's guide, appendix B, equation 6."""
    rows = []
    for seen, n, f1, f2 in [(20, 100, 7, 5), (40, 64, 30, 6), (12, 12, 12, 0), (9, 300, 2, 0), (48, 1024, 0, 3)]:
        a = (n - 1) / n
        estimate = seen + a * f1 * (f1 - 1) / (2 * (f2 + 1))
        variance = (
            a * f1 * (f1 - 1) / (2 * (f2 + 1))
            + a**2 * f1 * (2 * f1 - 1) ** 2 / (4 * (f2 + 1) ** 2)
            + a**2 * f1**2 * f2 * (f1 - 1) ** 2 / (4 * (f2 + 1) ** 4)
        )
        t = estimate - seen
        k = np.exp(Z * np.sqrt(np.log(1 + variance / t**2))) if t > 0 else 1
        rows.append([seen, n, f1, f2, estimate, seen + t / k, seen + t * k])
    return rows


def rarefaction():
    """The expected number of clusters among m of n by drawing: mean over 200,000 hypergeometric draws."""
    sizes = [1, 1, 1, 2, 2, 5, 9, 30]
    n = 80
    rows = []
    for m in (10, 40, 70):
        draws = rng.multivariate_hypergeometric([*sizes, n - sum(sizes)], m, size=200_000)[:, :-1]
        counts = (draws > 0).sum(axis=1)
        rows.append([m, float(counts.mean()), float(counts.std() / np.sqrt(len(counts)))])
    return {"sizes": sizes, "attacks": n, "rows": rows}


def pareto():
    rows = []
    for n, k in [(50, 0.2), (200, 0.6), (200, 1.1), (1000, -0.3), (30, 0.9)]:
        values = np.sort(stats.genpareto.rvs(k, size=n, random_state=rng)) + 0.5
        tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
        excesses = values[-tail:] - values[-tail - 1]
        rows.append({"weights": [float(f"{v:.9g}") for v in rng.permutation(values)], "tail": tail, "shape": _gpdfit(excesses)[0]})
    return rows


def gamma_interval():
    """Fay and Feuer (1997), their formulas for a standardised rate."""
    rows = []
    for value, variance, largest in [(0, 0, 0.01), (0.02, 1e-4, 0.005), (0.3, 4e-4, 0.001), (0.004, 1.6e-5, 0.004)]:
        low = 0 if value == 0 else variance / (2 * value) * stats.chi2.ppf(0.025, 2 * value**2 / variance)
        y, v = value + largest, variance + largest**2
        rows.append([value, variance, largest, low, v / (2 * y) * stats.chi2.ppf(0.975, 2 * y**2 / v)])
    return rows


golden = {
    "origin": {
        "script": "lab/golden/unseen.py",
        "seed": 20240519,
        "versions": {name: version(name) for name in ("numpy", "scipy", "arviz")},
    },
    "gammas": gammas(),
    "missingMass": missing_mass(),
    "chao1": chao1(),
    "rarefaction": rarefaction(),
    "pareto": pareto(),
    "gammaInterval": gamma_interval(),
}
path = Path("test/golden/metrics/unseen.json")
path.write_text(json.dumps(golden) + "\n")
print(path, path.stat().st_size, "bytes")
