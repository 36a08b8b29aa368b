"""Pictures in a row, pixel by pixel, with a line or two of words above each."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP, LETTERS = 8, 13  # pixels


def draw(pictures: Sequence[tuple[str, str, Image.Image]]) -> Image.Image:
    """A strip of pictures of one size, each under its name and a remark, which are cut off where they do not
    fit."""
    font = ImageFont.load_default(LETTERS)
    width, height = pictures[0][2].size
    line = LETTERS + 4
    head = 2 * line + GAP // 2
    whole = Image.new(
        "RGB", (GAP + len(pictures) * (width + GAP), GAP + head + height + GAP), "white"
    )
    brush = ImageDraw.Draw(whole)
    for number, (name, remark, picture) in enumerate(pictures):
        left = GAP + number * (width + GAP)
        for row, (words, colour) in enumerate(((name, "black"), (remark, "dimgrey"))):
            fits = fitting(words, lambda text: brush.textlength(text, font), width)
            brush.text((left, GAP + row * line), fits, colour, font)
        whole.paste(picture, (left, GAP + head))
    return whole


def fitting(words: str, length, most: float) -> str:
    """The words, or as much of their beginning as is `most` long, with dots."""
    if length(words) <= most:
        return words
    while words and length(f"{words}...") > most:
        words = words[:-1]
    return f"{words}..."
