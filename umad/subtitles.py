"""Writes a transcript as subtitles: SubRip (`.srt`) and WebVTT (`.vtt`). Pure."""

from collections.abc import Sequence

from umad.transcription import Segment

_MS_PER_S, _S_PER_MIN, _MIN_PER_H = 1000, 60, 60


def srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues with a comma before the milliseconds."""
    cues = [
        f"{number}\n{_time(one.start_s, ',')} --> {_time(_end_s(one), ',')}\n{_line(one)}\n"
        for number, one in enumerate(_spoken(segments), start=1)
    ]
    return "\n".join(cues)


def vtt(segments: Sequence[Segment]) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): & < and > are written as its references."""
    cues = [
        f"{_time(one.start_s, '.')} --> {_time(_end_s(one), '.')}\n{_escaped(_line(one))}\n"
        for one in _spoken(segments)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _spoken(segments: Sequence[Segment]) -> list[Segment]:
    """Segments with a text: a cue without one ends the file for some readers."""
    return [one for one in segments if one.text.strip()]


def _end_s(segment: Segment) -> float:
    # WebVTT wants an end behind the beginning.
    return max(segment.end_s, segment.start_s + 1 / _MS_PER_S)


def _line(segment: Segment) -> str:
    # An arrow in a text would be read as a cue's times, and an empty line as its end.
    return " ".join(segment.text.split()).replace("-->", "→")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(at_s: float, point: str) -> str:
    total_ms = max(0, round(at_s * _MS_PER_S))
    total_s, ms = divmod(total_ms, _MS_PER_S)
    total_min, s = divmod(total_s, _S_PER_MIN)
    h, minutes = divmod(total_min, _MIN_PER_H)
    return f"{h:02}:{minutes:02}:{s:02}{point}{ms:03}"
