"""What llama.cpp's quantisers err, for tests/unit/test_quant_k.c: quantise.py LIBGGML-BASE.SO

131,072 numbers close to the normal distribution, as the test makes them, quantised and read by
ggml without an importance matrix: the root of the mean squared error of each type. Needs numpy.
"""
import ctypes, sys
import numpy as np

TYPES = [('q4_0', 2, 32, 18), ('q4_1', 3, 32, 20), ('q5_0', 6, 32, 22), ('q5_1', 7, 32, 24),
         ('q8_0', 8, 32, 34), ('q2_K', 10, 256, 84), ('q3_K', 11, 256, 110),
         ('q4_K', 12, 256, 144), ('q5_K', 13, 256, 176), ('q6_K', 14, 256, 210)]
N, COLS = 512 * 256, 1024


def uniforms(seed, n):
    """splitmix64, its upper 53 bits."""
    with np.errstate(over='ignore'):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0 ** -53


u, x = uniforms(1, 12 * N).reshape(N, 12), np.full(N, -6.0)
for i in range(12):
    x += u[:, i]
x, y = x.astype(np.float32), np.empty(N, np.float32)
ggml = ctypes.CDLL(sys.argv[1])
at = lambda a: ctypes.c_void_p(a.ctypes.data)
for name, number, block, size in TYPES:
    out = np.zeros(N // block * size, np.uint8)
    ggml.ggml_quantize_chunk(number, at(x), at(out), ctypes.c_int64(0), ctypes.c_int64(N // COLS),
                             ctypes.c_int64(COLS), None)
    ggml['dequantize_row_' + name](at(out), at(y), ctypes.c_int64(N))
    print(name, '%.6f' % np.sqrt(np.mean((y.astype(np.float64) - x) ** 2)))
