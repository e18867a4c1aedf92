"""Subtitles, as players read them."""

import html
import io

import webvtt

from umad.subtitles import srt, vtt
from umad.transcription import Segment

SEGMENTS = (
    Segment(text=" It was the best of times.", start_s=0.0, end_s=5.08),
    Segment(text="  ", start_s=5.08, end_s=6.0),
    Segment(text=" a < b & c --> d\n\nthen", start_s=3661.5, end_s=3661.5),
)


def test_srt_has_numbered_cues_and_commas() -> None:
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:05,080\nIt was the best of times.\n\n"
        "2\n01:01:01,500 --> 01:01:01,501\na < b & c → d then\n"
    )


def test_vtt_has_its_head_points_and_references() -> None:
    assert vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:05.080\nIt was the best of times.\n\n"
        "01:01:01.500 --> 01:01:01.501\na &lt; b &amp; c → d then\n"
    )


def test_a_parser_of_them_reads_both() -> None:
    read = [
        webvtt.from_buffer(io.StringIO(srt(SEGMENTS)), format="srt").captions,
        webvtt.from_string(vtt(SEGMENTS), strict=True).captions,
    ]

    for cues in read:
        assert [(one.start, one.end) for one in cues] == [
            ("00:00:00.000", "00:00:05.080"),
            ("01:01:01.500", "01:01:01.501"),
        ]
        assert cues[0].text == "It was the best of times."
    assert read[0][1].text == "a < b & c → d then"
    # It leaves WebVTT's references to the player, which reads them as HTML's.
    assert html.unescape(read[1][1].text) == "a < b & c → d then"


def test_nothing_that_was_said_is_an_empty_file() -> None:
    assert (srt(()), vtt(())) == ("", "WEBVTT\n")
