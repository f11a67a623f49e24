"""What Pillow opens -> RGB pixels, or the reason why they are not certain."""

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT

_OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_WHITE_IS_ZERO, _SIGNED = 0, 2  # in a TIFF file's PhotometricInterpretation and SampleFormat


def why_not(image: ImageFile) -> str:
    """Why an image that Pillow has opened, and not yet decoded, has no certain RGB pixels; "" if it has.

    Besides modes without a known range these are the files that Pillow decodes to other numbers than they mean.
    """
    if image.mode in ("I", "F"):
        return f"its samples are 32-bit numbers of unknown range (mode {image.mode}); convert it to 8 or 16 bits"
    if image.mode not in (*_OPAQUE, *_WITH_ALPHA, *_SIXTEEN_BITS):
        return f"its mode is {image.mode}, whose colours are not certain; convert it to RGB"
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITSPERSAMPLE, (1,))
        if _SIGNED in image.tag_v2.get(SAMPLEFORMAT, ()):
            return "its samples are signed numbers; convert it to unsigned ones"
        if image.mode in _SIXTEEN_BITS and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            return "its 16-bit samples run from white to black; convert it to 8 bits"
        if image.mode in _SIXTEEN_BITS and bits != (16,):
            return f"its samples have {bits[0]} bits; convert it to 8 or 16 bits"
    if _raw_mode(image) == "RGB;16B" and "transparency" in image.info:
        return "its transparent colour has 16 bits a sample, of which Pillow keeps 8; convert it to 8 bits"
    return ""


def rgb_pixels(image: ImageFile) -> np.ndarray:
    """The pixels of an image for which `why_not` is "", uint8 [H, W, 3], turned as its EXIF orientation says.

    What is transparent is laid over white. 16-bit samples lose their lower 8 bits. Colour profiles are not applied: RGB stays
    as it is, and CMYK becomes (1 - C)(1 - K) and so on, whose colours only resemble those in print.
    """
    key = image.info.get("transparency")
    if isinstance(key, int):
        key *= {"L;2": 85, "L;4": 17}.get(_raw_mode(image), 1)  # Pillow widens these samples to 8 bits, but not the key
    image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BITS:  # convert() would make all but the darkest white
        samples = np.asarray(image)  # uint16 [H, W]
        grey = (samples >> 8).astype(np.uint8)
        if key is not None:
            grey[samples == key] = 255
        return grey[..., None].repeat(3, axis=-1)
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    if key is not None:
        image.info["transparency"] = key
    layer = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer)
    return np.array(white)


def _raw_mode(image: ImageFile) -> str:
    """How the samples of a PNG file are stored; known until it is decoded."""
    return image.tile[0].args if image.format == "PNG" and image.tile else ""
