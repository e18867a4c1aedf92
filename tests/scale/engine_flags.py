"""Lists the options of the pinned engines, from their wheels' own parsers, into engine_flags.json.

    python -m tests.scale.engine_flags [--check] WHEEL…

Neither engine is installed or imported, because both need torch: their sources are read as syntax.
vLLM adds options by hand, from fields of dataclasses (`vllm/engine/arg_utils.py`) and whole classes
of them (`vllm/entrypoints/common/cli_args.py`); SGLang makes one of each annotated field
(`sglang/srt/arg_groups/fields/`). An option is a *switch*, or takes a *value*. --check compares.
"""

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FLAGS = Path(__file__).with_name("engine_flags.json")
_WHEEL = re.compile(r"(?P<name>vllm|sglang)-(?P<version>[\d.]+)-.*\.whl")
_VLLM_CLASSES = {
    "vllm/entrypoints/common/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
    "vllm/engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
}
_VLLM_PARSERS = ("vllm/engine/arg_utils.py", "vllm/entrypoints/common/cli_args.py")
_VLLM_MORE = re.compile(r"vllm/entrypoints/cli/serve\.py|vllm/entrypoints/serve/cli.*\.py")
_SGLANG_FIELDS = re.compile(r"sglang/srt/arg_groups/fields/\w+\.py")


def flags_of(wheel: Path) -> tuple[str, str, dict[str, str]]:
    """The engine, its version, and the kind of each option."""
    found = _WHEEL.fullmatch(wheel.name)
    if found is None:
        raise SystemExit(f"{wheel.name} is no wheel of vLLM or SGLang")
    with zipfile.ZipFile(wheel) as archive:
        sources = {
            name: ast.parse(archive.read(name))
            for name in archive.namelist()
            if name in _VLLM_CLASSES or _VLLM_MORE.fullmatch(name) or _SGLANG_FIELDS.fullmatch(name)
        }
    read = _vllm if found["name"] == "vllm" else _sglang
    return found["name"], found["version"], dict(sorted(read(sources).items()))


def _vllm(sources: dict[str, ast.Module]) -> dict[str, str]:
    fields = {
        name: annotation
        for path, classes in _VLLM_CLASSES.items()
        for one in ast.walk(sources[path])
        if isinstance(one, ast.ClassDef) and one.name in classes
        for name, annotation in _fields(one)
    }
    flags: dict[str, str] = {}
    for path, tree in sources.items():
        for one in ast.walk(tree):
            if not (isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "add_argument"):
                continue
            names = [arg.value for arg in one.args if isinstance(arg, ast.Constant)]
            for name in names:
                if isinstance(name, str) and name.startswith("--"):
                    flags[name] = _kind_of_call(one, fields)
        for class_ in ast.walk(tree):
            is_whole = path.endswith("cli_args.py")
            if (
                is_whole
                and isinstance(class_, ast.ClassDef)
                and class_.name.endswith("FrontendArgs")
            ):
                for name, annotation in _fields(class_):
                    flags["--" + name.replace("_", "-")] = _kind(annotation)
    return flags


def _kind_of_call(call: ast.Call, fields: dict[str, str]) -> str:
    """Of an option that is added by hand, or from `**group["field"]`."""
    for keyword in call.keywords:
        if keyword.arg == "action":
            is_switch = re.search("store_|Boolean", ast.unparse(keyword.value))
            return "switch" if is_switch else "value"
        source = keyword.value
        if keyword.arg is None and isinstance(source, ast.Subscript):
            name = ast.literal_eval(source.slice)
            return _kind(fields.get(name, ""))
    return "value"


def _sglang(sources: dict[str, ast.Module]) -> dict[str, str]:
    flags: dict[str, str] = {}
    for tree in sources.values():
        for class_ in ast.walk(tree):
            if not isinstance(class_, ast.ClassDef):
                continue
            for one in class_.body:
                if isinstance(one, ast.AnnAssign) and isinstance(one.annotation, ast.Subscript):
                    flags.update(_sglang_flags(one, one.annotation))
    return flags


def _sglang_flags(field: ast.AnnAssign, annotation: ast.Subscript) -> dict[str, str]:
    if ast.unparse(annotation.value) != "A" or not isinstance(annotation.slice, ast.Tuple):
        return {}
    kind, *more = annotation.slice.elts
    said = {
        keyword.arg: keyword.value
        for one in more
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "Arg"
        for keyword in one.keywords
    }
    if "no_cli" in said and ast.literal_eval(said["no_cli"]):
        return {}
    names = ["--" + ast.unparse(field.target).replace("_", "-")]
    if "cli_name" in said:
        names = [ast.literal_eval(said["cli_name"])]
    if "aliases" in said:
        names += ast.literal_eval(said["aliases"])
    return dict.fromkeys(names, _kind(ast.unparse(kind)))


def _fields(class_: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for one in class_.body:
        if isinstance(one, ast.AnnAssign):
            yield ast.unparse(one.target), ast.unparse(one.annotation)


def _kind(annotation: str) -> str:
    return "switch" if re.fullmatch(r"(Optional\[)?bool\]?( \| None)?", annotation) else "value"


def main(words: list[str]) -> int:
    """Write the file, or compare it."""
    wheels = [Path(one) for one in words if one != "--check"]
    found = {
        name: {"version": version, "flags": flags}
        for name, version, flags in sorted(map(flags_of, wheels))
    }
    text = json.dumps(found, indent=1) + "\n"
    if "--check" not in words:
        FLAGS.write_text(text)
        return 0
    return 0 if FLAGS.read_text() == text else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
