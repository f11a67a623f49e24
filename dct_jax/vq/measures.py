"""What an autoencoder loses of pictures, and what its codes cost."""

import numpy as np


def measure(pictures: np.ndarray, copies: np.ndarray, codes: np.ndarray, num_codes: int) -> dict[str, float]:
    """Compares pictures with their reconstructions.

    Args:
        pictures, copies: uint8 [N, H, W, 3].
        codes: int [N, h, w]; the number K is no code, but a hole.
        num_codes: K.

    Returns:
        The squared error of pixels from -1 to 1; PSNR in dB, the mean over the pictures that lose
        something, infinity if none does; perplexity of
        the codes and the share of them in use; bits per pixel of the codes at log2 K each, and at
        the entropy of their frequencies in these pictures.
    """
    errors = np.square((copies.astype(float) - pictures) / 127.5).mean(axis=(1, 2, 3))  # [N]
    lossy = errors[errors > 0]  # as in dct.statistics: an infinite PSNR has no mean
    codes = codes[codes < num_codes]
    share = np.bincount(codes, minlength=num_codes) / codes.size  # [K]
    seen = share[share > 0]
    entropy = -float(np.sum(seen * np.log2(seen)))  # bits a code
    per_pixel = codes.size / (pictures.size / 3)  # codes
    return {
        "squared_error": float(errors.mean()),
        "psnr": float(np.mean(10 * np.log10(4 / lossy))) if len(lossy) else np.inf,
        "perplexity": float(2**entropy),
        "codes_used": float(np.mean(share > 0)),
        "bits_per_pixel": float(per_pixel * np.log2(num_codes)),
        "bits_per_pixel_at_entropy": per_pixel * entropy,
    }
