"""The files of `umad run --image` in its conversation."""

from umad.cli.talk import Talk
from umad.content import MediaFile
from umad.request import GenerateRequest


def test_files_stand_before_the_first_words_and_stay_in_the_conversation() -> None:
    picture = MediaFile(kind="image", data=b"p")
    talk = Talk(request=GenerateRequest(), files=(picture,))

    first = talk.asking("What is it?")
    talk.keep("What is it?", "A cat.")
    second = talk.asking("Sure?")

    assert [one.file for one in first.placed] == [picture]
    assert [len(turn.media) for turn in second.messages or ()] == [1, 0, 0]
