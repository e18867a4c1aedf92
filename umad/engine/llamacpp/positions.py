"""Turns numbers of cells into llama.cpp's positions, where an image has fewer positions than cells.

Everything above counts cells. Under M-RoPE all cells of an image begin at one position, and the
text behind it goes on after as many positions as the image's longer side has rows. This book knows
the images in each sequence. It is empty for all other models. Owner: the step thread.
"""

from umad.media_slices import FoldedRun


class Positions:
    """The images of one pool's sequences."""

    def __init__(self) -> None:
        self._images: dict[int, list[FoldedRun]] = {}

    def __bool__(self) -> bool:
        return bool(self._images)

    def of(self, seq: int, n_cells: int) -> int:
        """The position behind the first `n_cells` of a sequence, which cut no image in two."""
        images = self._images.get(seq)
        if not images:
            return n_cells
        return n_cells - sum(one.n_without for one in images if one.end <= n_cells)

    def cells(self, seq: int, n_positions: int) -> int:
        """The inverse: how many cells lie before a position."""
        n_cells = n_positions
        for one in self._images.get(seq, ()):
            if n_cells <= one.start:
                break
            n_cells += one.n_without
        return n_cells

    def laid(self, seq: int, start: int, n_cells: int, n_positions: int) -> None:
        """An image was computed at the end of a sequence."""
        if n_positions < n_cells:
            n_without = n_cells - n_positions
            image = FoldedRun(start=start, end=start + n_cells, n_without=n_without)
            self.restored(seq, (image,))

    def restored(self, seq: int, images: tuple[FoldedRun, ...]) -> None:
        """Cells with these images came to the end of a sequence."""
        if images:
            self._images.setdefault(seq, []).extend(images)

    def copied(self, source: int, target: int, n_cells: int) -> None:
        """A sequence has the first cells of another one."""
        images = [one for one in self._images.get(source, ()) if one.end <= n_cells]
        if images:
            self._images[target] = images

    def trimmed(self, seq: int, n_cells: int) -> None:
        """A sequence keeps so many of its cells."""
        images = [one for one in self._images.get(seq, ()) if one.end <= n_cells]
        if images:
            self._images[seq] = images
        else:
            self._images.pop(seq, None)
