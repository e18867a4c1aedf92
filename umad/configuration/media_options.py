"""Lists the options under `media`, of images and sounds in requests. A part of `options`. Pure."""

from umad.configuration.kinds import BYTES, NETWORK, SECONDS, SWITCH, count, whole
from umad.configuration.option import Option, nested_option
from umad.content import MAX_FILES

MEDIA: tuple[Option, ...] = (
    nested_option(
        "media",
        "files",
        whole(1, MAX_FILES, unit="files"),
        "Most images and sounds of one request, those of its history too.",
        "A request with more is refused.",
    ),
    nested_option(
        "media",
        "file_bytes",
        BYTES,
        "Largest file of an image or a sound.",
        "A larger one is refused. A whole request has at most limits.frame_bytes.",
    ),
    nested_option(
        "media",
        "pixels",
        count("pixels", most=1_000_000_000),
        "Largest image.",
        "A larger one is refused before it is decoded. 50,000,000 pixels are the photos of the "
        "largest cameras in phones.",
    ),
    nested_option(
        "media",
        "seconds",
        SECONDS,
        "Longest sound that a model hears in a chat.",
        "A longer one is refused. Recordings for umad transcribe have limits.audio_s instead.",
    ),
    nested_option(
        "media",
        "decode_s",
        SECONDS,
        "Processor time for decoding one file.",
        "Its decoder is ended then, and the file refused.",
    ),
    nested_option(
        "media",
        "decode_bytes",
        BYTES,
        "Memory for decoding one file.",
        "A file that needs more is refused. Fewer than 256MiB refuse photos.",
    ),
    nested_option(
        "media",
        "remote_urls",
        SWITCH,
        "The gateway fetches images and sounds that requests name by http and https addresses.",
        "Whoever may ask can then make this machine fetch from public servers. Addresses of this "
        "machine, private ones, and public ones beside its own (one /64, one /24) are refused, "
        "through names and redirects too. false refuses every address but data: URLs.",
    ),
    nested_option(
        "media",
        "remote_bytes",
        BYTES,
        "Most bytes that are fetched for one request.",
        "More are refused.",
    ),
    nested_option(
        "media",
        "remote_s",
        SECONDS,
        "How long fetching for one request may take.",
        "What has not come by then is refused.",
    ),
    nested_option(
        "media",
        "remote_redirects",
        whole(0, 20, unit="redirects"),
        "How often a server may lead on to another address.",
        "Each new address is checked like the first.",
    ),
)
MEDIA_LISTS: tuple[Option, ...] = (
    Option(
        name="media.remote_networks",
        target=("media", "remote_networks"),
        kind=NETWORK,
        help="Networks that images are fetched from besides public addresses.",
        effect="For pictures on servers of your own network. Every server there may be asked, at "
        "every port, by whoever may ask umad.",
        example="[192.168.1.0/24]",
    ),
)
