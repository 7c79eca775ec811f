"""Take what people put around the kernel's text out of it: prompts, quotes, what grep writes.

Interface: `cleaned` returns text with the same number of lines, so that errors name the right one;
`sections` cuts a paste of several files into them.
"""

import re
from typing import Final

__all__ = ["cleaned", "sections"]

_QUOTES: Final = re.compile(r"(?:[>|] ?)+")
_GREP: Final = re.compile(r"(?:[^\s:]*(?:zone|buddy|mem)info[:-])?(?:[0-9]{1,6}[:-])?(?=\D|$)")
_CAT_N: Final = re.compile(r" *[0-9]{1,6}\t")
_GREP_GAP: Final = re.compile(r"--\s*")
_PROMPT: Final = re.compile(r"(?:\[?[\w.-]+@[^$#%]*|[^\s:,=]*)[$#%](?: .*)?")
_FENCE: Final = re.compile(r"```\w*|\[/?code\]", re.IGNORECASE)
_BLANKS: Final = str.maketrans({"\t": " ", "\u00a0": " ", "\ufeff": ""})

_BUDDY: Final = re.compile(r"\s*Node +[0-9]+, +zone +\S+(?: +[0-9]+){8,}\s*")
_SYSCTL: Final = re.compile(r"\s*vm\.[a-z_]+ = .*")
_MEMINFO: Final = re.compile(r"\s*[A-Z][A-Za-z0-9_()]+: +[0-9]+(?: kB)?\s*")


def cleaned(text: str) -> str:
    """Return text without line ends of DOS, quoting, prefixes of grep, prompts and code fences.

    A line that is nothing else becomes empty; the others keep their place.
    """
    return "\n".join(_clean_line(line) for line in text.split("\n"))


def _clean_line(line: str) -> str:
    line = line.rstrip("\r")
    line = line[_length(_CAT_N, line) :].translate(_BLANKS)
    stripped = line.strip()
    if _FENCE.fullmatch(stripped) or _PROMPT.fullmatch(stripped) or _GREP_GAP.fullmatch(stripped):
        return ""
    if not line[:1].isspace():
        line = line[_length(_QUOTES, line) :]
    if not line[:1].isspace():
        line = line[_length(_GREP, line) :]
    return "" if _PROMPT.fullmatch(line.strip()) else line


def _length(pattern: re.Pattern[str], line: str) -> int:
    match = pattern.match(line)
    return 0 if match is None else match.end()


def sections(text: str) -> dict[str, str]:
    """Return the files in a paste by name: zoneinfo, and what else is recognised.

    Lines of other files are empty in each text, so that line numbers stay those of the paste.
    """
    lines = cleaned(text).split("\n")
    kinds = [_kind(line) for line in lines]
    names = [kind for kind in dict.fromkeys(kinds) if kind]
    result = {
        name: "\n".join(
            line.strip() if kind == name else "" for line, kind in zip(lines, kinds, strict=True)
        )
        for name in names
    }
    return {"zoneinfo": "", **result}


def _kind(line: str) -> str:
    """Return the file a line belongs to, "" for an empty one; what is not known is zoneinfo's."""
    if not line.strip():
        return ""
    if _BUDDY.fullmatch(line):
        return "buddyinfo"
    if _SYSCTL.fullmatch(line):
        return "sysctl_vm.txt"
    if _MEMINFO.fullmatch(line):
        return "meminfo"
    return "zoneinfo"
