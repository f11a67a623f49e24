"""Image files -> RGB pixels, or the reason why these are not certain."""

import io
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from dct_jax.data.formats import FORMATS
from dct_jax.data.sources.record import Record
from dct_jax.storage.files import read_limited

NO_IMAGE = "this is no image of a kind that is read"

_OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_WHITE_IS_ZERO, _SIGNED = 0, 2  # in a TIFF file's PhotometricInterpretation and SampleFormat
_ON_THEIR_SIDE = (5, 6, 7, 8)  # Exif orientations that exchange height and width


def read_image(path: str | Path) -> np.ndarray:
    """Reads the RGB pixels of an image file, uint8 [H, W, 3]; see `decode_image`.

    Raises:
        ValueError: also if the file is missing or too large; the message names it.
    """
    data = read_limited(Path(path))
    try:
        return decode_image(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def pixels(record: Record) -> np.ndarray:
    """Returns the record's image, uint8 [H, W, 3].

    Raises:
        ValueError: if it cannot be decoded, or is of a source of codes.
    """
    if record.codes is not None:
        raise ValueError("it has codes and no pixels; only priors over codes can learn them")
    return record.image if isinstance(record.image, np.ndarray) else decode_image(record.image)


def decode_image(data: bytes, formats: tuple[str, ...] = tuple(FORMATS), most_pixels: int | None = None) -> np.ndarray:
    """Decodes an image to RGB pixels, uint8 [H, W, 3], turned as its EXIF orientation says; of
    several frames the first.

    Grey, palette, 1-bit, YCbCr, HSV and CMYK images become RGB, CMYK without its colour profile.
    What is transparent is laid over white. 16-bit samples lose their lower 8 bits.

    Args:
        data: a file.
        formats: Pillow's names of those that are tried.
        most_pixels: a larger image is refused by its header; by default Pillow's own limit holds.

    Raises:
        ValueError: if this is damaged or no image, or if its samples have no certain meaning as RGB
            (32-bit numbers, Lab).
    """
    with _open(data, formats) as image:
        width, height = image.size
        if most_pixels is not None and width * height > most_pixels:
            raise ValueError(f"this image has {height} x {width} pixels; at most {most_pixels} are read")
        try:
            reason = why_not(image)
            if not reason:
                return rgb_pixels(image)
        # Pillow's decoders raise nearly anything for a damaged file, even SyntaxError.
        except Exception as error:
            raise ValueError(f"this image cannot be read ({error!r})") from None
    raise ValueError(reason)


def image_size(data: bytes, upright: bool = True) -> tuple[int, int]:
    """Returns (H, W) of an encoded image, upright or as it lies, from its header. (A PNG file
    without Exif in front is decoded for it.)

    Raises:
        ValueError: if this is no image.
    """
    with _open(data) as image:
        width, height = image.size
        try:
            lies_on_its_side = image.getexif().get(ExifTags.Base.Orientation) in _ON_THEIR_SIDE
        except Exception as error:
            raise ValueError(f"this image cannot be read ({error!r})") from None
    # Pillow gives the size of a TIFF image upright, and those of others as they lie.
    exchange = lies_on_its_side and upright != (image.format == "TIFF")
    return (width, height) if exchange else (height, width)


def _open(data: bytes, formats: tuple[str, ...] = tuple(FORMATS)) -> ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise ValueError(NO_IMAGE) from None
    except Exception as error:
        raise ValueError(f"this image cannot be read ({error!r})") from None


def why_not(image: ImageFile) -> str:
    """Returns why an opened, undecoded image has no certain RGB pixels; "" if it has.

    Besides modes without a known range these are the files that Pillow decodes to other numbers
    than they mean.
    """
    if image.mode in ("I", "F"):
        return f"its samples are 32-bit numbers of unknown range (mode {image.mode}); convert it to 8 or 16 bits"
    if image.mode not in (*_OPAQUE, *_WITH_ALPHA, *_SIXTEEN_BITS):
        return f"its mode is {image.mode}, whose colours are not certain; convert it to RGB"
    if image.format == "TIFF":
        tags = cast(TiffImageFile, image).tag_v2
        bits = tags.get(BITSPERSAMPLE, (1,))
        if _SIGNED in tags.get(SAMPLEFORMAT, ()):
            return "its samples are signed numbers; convert it to unsigned ones"
        if image.mode in _SIXTEEN_BITS and tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            return "its 16-bit samples run from white to black; convert it to 8 bits"
        if image.mode in _SIXTEEN_BITS and bits != (16,):
            return f"its samples have {bits[0]} bits; convert it to 8 or 16 bits"
    if _raw_mode(image) == "RGB;16B" and "transparency" in image.info:
        return "its transparent colour has 16 bits a sample, of which Pillow keeps 8; convert it to 8 bits"
    return ""


def rgb_pixels(image: ImageFile) -> np.ndarray:
    """Returns the pixels of an image for which `why_not` is "", uint8 [H, W, 3], turned as its EXIF
    orientation says.

    What is transparent is laid over white. 16-bit samples lose their lower 8 bits. Colour profiles
    are not applied: RGB stays as it is, and CMYK becomes (1 - C)(1 - K) and so on, whose colours
    only resemble those in print.
    """
    key = image.info.get("transparency")
    if isinstance(key, int):
        key *= {"L;2": 85, "L;4": 17}.get(_raw_mode(image), 1)  # Pillow widens these samples to 8 bits, but not the key
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _SIXTEEN_BITS:  # convert() would make all but the darkest white
        samples = np.asarray(image)  # uint16 [H, W]
        grey = (samples >> 8).astype(np.uint8)
        if key is not None:
            grey[samples == key] = 255
        return grey[..., None].repeat(3, axis=-1)
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if key is not None:
        image.info["transparency"] = key
    layer = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer)
    return np.asarray(white)


def _raw_mode(image: ImageFile) -> str:
    """Returns how a PNG file stores its samples; it is known until the file is decoded."""
    return cast(str, image.tile[0].args) if image.format == "PNG" and image.tile else ""
