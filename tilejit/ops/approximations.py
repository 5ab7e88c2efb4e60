"""Polynomials that stand for functions which no target computes by itself.

Highest power first, with the largest relative error of the function that they serve.
"""

ERF = (  # erf(x)/x - 1 in x**2, |x| <= 1: 2**-29
    7.853861223726441e-05, -0.0008010193590559402, 0.005188327682352823, -0.02685381193382781,
    0.11283585148587157, -0.3761262582423212, 0.1283791657267117,
)  # fmt: skip
LOG2_ERFC = (  # log2(erfc(x)), 1 <= x <= 4: erfc is right within 2**-29
    0.00026772537580826354, -0.004240944456199821, 0.0314583771539453, -0.14865140606086055,
    -0.9207651242269993, -1.6259750103260642, -0.0005103236874607262,
)  # fmt: skip
SINE = (  # (sin(r) - r) / r**3 in r**2, |r| <= pi/4: 2**-28
    -0.00019517234691937132, 0.008332177686455333, -0.16666654936694417,
)  # fmt: skip
COSINE = (  # (cos(r) - 1 + r**2/2) / r**4 in r**2, |r| <= pi/4: 2**-32
    2.4438379474843274e-05, -0.0013887366909990891, 0.04166664685460254,
)  # fmt: skip
