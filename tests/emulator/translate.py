"""Turns a CUDA source into C++: shared memory becomes memory of the engine's, launch bounds become a check at the start
of the kernel, project headers are expanded.

The rest is macros and functions of ``cuda_emulator.h``. Nothing else is rewritten, and a line stays a line, so that a
message of the compiler or of a sanitizer names the kernel's own file and line.
"""

from __future__ import annotations

import re
from pathlib import Path

ALIGNMENT = r"(?:(?:__align__|alignas)\s*\((?P<alignment>[^()]*(?:\([^()]*\))?[^()]*)\)\s*)?"
TYPE = r"(?P<type>(?:[\w:\s]|<[^;()]*>)+?)"
DYNAMIC = re.compile(rf"extern\s+__shared__\s+{ALIGNMENT}{TYPE}\s+(?P<name>\w+)\s*\[\s*\]\s*;")
STATIC = re.compile(rf"__shared__\s+{ALIGNMENT}{TYPE}\s+(?P<name>\w+)\s*(?P<sizes>(?:\[[^\]]*\]\s*)*);")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"(?P<quoted>[^"]+)"|<(?P<system>[^>]+)>)', re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
GLOBAL = re.compile(r"__global__[^;{(]*?\b(\w+)\s*\(", re.DOTALL)
LAUNCH_BOUNDS = re.compile(r"__launch_bounds__\s*(?P<bounds>\((?:[^()]|\([^()]*\))*\))")
BODY = re.compile(rf"__global__[^;{{]*?{LAUNCH_BOUNDS.pattern}[^;{{]*\{{")


def translate(path: Path, name: str) -> str:
    """Return host C++ of one kernel of a CUDA source, given by its name expression.

    The anonymous namespace keeps every variable out of reach of the linker: sanitizers do not watch what the linker may
    merge.
    """
    return f"""#include "cuda_emulator.h"
namespace {{
{expand(path, set())}
}}  // namespace
#line 1 "{path.name}: {name}"
extern "C" __attribute__((visibility("default"))) const emulator::Entry* emulator_entry() {{
  return emulator::entry<(&{name})>();
}}
"""


def expand(path: Path, seen: set[Path]) -> str:
    """Return a source rewritten and with its project headers in place, each once.

    Its lines are given names without folders: what is not changed in a copy of all sources is not built again.
    """
    path = path.resolve()
    if path in seen:
        return ""
    seen.add(path)
    text = path.read_text().replace("#pragma once", "")
    pieces, position = [f'#line 1 "{path.name}"\n'], 0
    for match in INCLUDE.finditer(text):
        if match["system"]:
            raise ValueError(f"{path.name}: #include <{match['system']}>: a kernel includes project headers only")
        line = text.count("\n", 0, match.end()) + 1
        header = expand(path.parent / match["quoted"], seen)
        pieces += [rewrite(text[position : match.start()]), header, f'\n#line {line} "{path.name}"']
        position = match.end()
    return "".join([*pieces, rewrite(text[position:])])


def rewrite(text: str) -> str:
    """Replace declarations of shared memory, and check launch bounds."""

    def dynamic(match: re.Match[str]) -> str:
        pointer, alignment = f"{match['type']}*", match["alignment"] or f"alignof({match['type']})"
        return f"{pointer} const {match['name']} = static_cast<{pointer}>(emulator::dynamic_shared({alignment}));"

    def static(match: re.Match[str]) -> str:
        whole = f"{match['name']}_shared"
        alignment = f", {match['alignment']}" if match["alignment"] else ""
        return (
            f"typedef {match['type']} {whole}{match['sizes']};"
            f" {whole}& {match['name']} = emulator::shared<{whole}>([] {{}}{alignment});"
        )

    def bounded(match: re.Match[str]) -> str:
        return f"{match[0]} emulator::check_launch_bounds{match['bounds']};"

    text = BODY.sub(bounded, STATIC.sub(static, DYNAMIC.sub(dynamic, text)))
    if "__shared__" in COMMENT.sub("", text):
        raise ValueError("__shared__ as the emulator cannot read it: one variable a declaration, without a value")
    return text


def global_functions(path: Path) -> set[str]:
    """Return the names of a source's ``__global__`` functions."""
    return set(GLOBAL.findall(LAUNCH_BOUNDS.sub("", COMMENT.sub("", path.read_text()))))
