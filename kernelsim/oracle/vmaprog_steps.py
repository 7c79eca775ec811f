"""The steps of a recorded program that one process makes by itself.

A step is a call of the table of system calls, or an access; what it answers is written as the
recorder wrote what the real kernel answered (shared/oracle/syscalls/FORMAT.md, vmaprog.c).
Interface: `VmaSteps`; vmaprog_run.py runs whole programs.
Units: bytes, pages where the format has pages.
"""

import errno
from collections.abc import Awaitable, Callable, Sequence
from signal import SIGSEGV
from typing import Any, Final

import attrs

from kernelsim.actors.core.kernel import Kernel
from kernelsim.actors.core.process_table import ProcessEntry
from kernelsim.actors.process.calls.access import SEGV_MAPERR, CaughtFault, Touch, TouchResult
from kernelsim.actors.process.calls.advising import Madvise, MincoreRange, Msync
from kernelsim.actors.process.calls.file_write import Fsync, Ftruncate, Write
from kernelsim.actors.process.calls.files import Read
from kernelsim.actors.process.calls.limits import Setrlimit
from kernelsim.actors.process.calls.locking import Mlock2, MlockallFlags, Munlock, Munlockall
from kernelsim.actors.process.calls.mapping import NO_FILE, Brk, Mmap, Munmap
from kernelsim.actors.process.calls.protecting import Mprotect, Mremap
from kernelsim.check.page_cache import file_token
from kernelsim.mm.space.mm_struct import RLIM_INFINITY
from kernelsim.oracle.vmaprog_content import Contents, page_token
from kernelsim.oracle.vmaprog_program import (
    LOCK2_WORDS,
    LOCKALL_WORDS,
    MAP_WORDS,
    REMAP_WORDS,
    SYNC_WORDS,
    Places,
    advice_of,
    bits_of,
    length_of,
    prot_of,
    value_of,
)
from kernelsim.oracle.vmaprog_report import Reporter
from kernelsim.units import PAGE_SHIFT, PAGE_SIZE

OBJECT_WORDS: Final = ("file", "rofile", "wofile")
ERRNO_MAX: Final = 4095
WORD_BYTES: Final = 8
STACK_PAGES: Final = 33  # of the stack at the start
WORDS_MAX: Final = 6  # of a step, behind its name
TOUCHED: Final = b"\x55"


@attrs.define
class Side:
    """One of the processes of a program.

    Attributes:
        entry: It.
        places: What addresses count from in it.
        reporter: Writes of it.
    """

    entry: ProcessEntry
    places: Places
    reporter: Reporter


class VmaSteps:
    """The steps of a program that one process makes by itself.

    Args:
        kernel: The machine.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._contents = Contents()
        self._fds: dict[str, int] = {}
        self._letter = ""
        self._entry: ProcessEntry
        self._reporter: Reporter
        self._places: Places
        self._steps: dict[str, Callable[[list[str]], Awaitable[str]]] = {
            "mmap": self._mmap,
            "munmap": self._munmap,
            "mprotect": self._mprotect,
            "mremap": self._mremap,
            "madvise": self._madvise,
            "msync": self._msync,
            "mlock": self._mlock,
            "mlock2": self._mlock2,
            "munlock": self._munlock,
            "mlockall": self._mlockall,
            "munlockall": self._munlockall,
            "brk": self._brk,
            "mincore": self._mincore,
            "read": self._read,
            "write": self._write,
            "touch": self._touch,
            "touchdn": self._touch_down,
            "stackgrow": self._stackgrow,
            "fread": self._fread,
            "fwrite": self._fwrite,
            "ftruncate": self._ftruncate,
            "fsync": self._fsync,
            "setrlimit": self._setrlimit,
            "uid": self._uid,
            "vm": self._vm,
            "statm": self._statm,
            "commit": self._commit,
            "smaps": self._smaps,
            "oom_score": self._oom_score,
            "oom_adj": self._oom_adj,
        }

    def use(self, side: Side) -> None:
        """Let steps happen in one of the processes."""
        self._entry, self._places, self._reporter = side.entry, side.places, side.reporter

    async def _ask(self, value: object) -> Any:  # noqa: ANN401 - by the call
        return await self._entry.ref.ask(value)

    async def _store_to_file(self, offset: int, data: bytes) -> int:
        """Write bytes to one page of the file; return how many, or a negative errno."""
        kernel, fd = self._kernel, self._fds["file"]
        inode, index = self._entry.files[fd].inode, offset >> PAGE_SHIFT
        before = file_token(kernel, inode, index)
        answer: int = await self._ask(Write(fd, len(data), offset))
        if answer > 0:
            after = file_token(kernel, inode, index)
            self._contents.store(before, after, offset % PAGE_SIZE, data)
        return answer

    async def _counted(
        self, value: object, *, is_address: bool = False, counts: bool = True
    ) -> str:
        """Make a call; return its result with the faults it took."""
        entry = self._entry
        before = (entry.minflt, entry.majflt)
        answer = await self._ask(value)
        faults = self._faults_since(before) if counts else ""
        if is_address and not -ERRNO_MAX <= answer < 0:
            if self._letter:
                self._places.variables[self._letter] = answer
            return self._places.text(answer) + faults
        return result_text(answer) + faults

    def _faults_since(self, before: tuple[int, int]) -> str:
        minflt, majflt = self._entry.minflt - before[0], self._entry.majflt - before[1]
        return f" f={minflt}/{majflt}" if minflt or majflt else ""

    async def _mmap(self, words: list[str]) -> str:
        flags = bits_of(words[3], MAP_WORDS)
        value = Mmap(
            length_of(words[1]),
            address=self._places.address(words[0]),
            prot=prot_of(words[2]),
            flags=flags,
            fd=self._fds.get(
                next(filter(OBJECT_WORDS.__contains__, words[3].split(",")), ""), NO_FILE
            ),
            offset=length_of(words[4]),
        )
        return await self._counted(value, is_address=True)

    def _range(self, words: list[str]) -> tuple[int, int]:
        return self._places.address(words[0]), length_of(words[1])

    async def _munmap(self, words: list[str]) -> str:
        return await self._counted(Munmap(*self._range(words)))

    async def _mprotect(self, words: list[str]) -> str:
        return await self._counted(Mprotect(*self._range(words), prot_of(words[2])))

    async def _mremap(self, words: list[str]) -> str:
        value = Mremap(
            *self._range(words),
            length_of(words[2]),
            bits_of(words[3], REMAP_WORDS),
            self._places.address(words[4]) if words[4] else 0,
        )
        return await self._counted(value, is_address=True)

    async def _madvise(self, words: list[str]) -> str:
        return await self._counted(Madvise(*self._range(words), advice_of(words[2])))

    async def _msync(self, words: list[str]) -> str:
        return await self._counted(Msync(*self._range(words), bits_of(words[2], SYNC_WORDS)))

    async def _mlock(self, words: list[str]) -> str:
        return await self._counted(Mlock2(*self._range(words)))

    async def _mlock2(self, words: list[str]) -> str:
        return await self._counted(Mlock2(*self._range(words), bits_of(words[2], LOCK2_WORDS)))

    async def _munlock(self, words: list[str]) -> str:
        return await self._counted(Munlock(*self._range(words)))

    async def _mlockall(self, words: list[str]) -> str:
        flags = bits_of(words[0], LOCKALL_WORDS)
        return await self._counted(MlockallFlags(flags), counts=False)

    async def _munlockall(self, _words: list[str]) -> str:
        return await self._counted(Munlockall())

    async def _brk(self, words: list[str]) -> str:
        word = words[0].removeprefix("+")
        address = int(word, 16) if word.startswith("0x") else self._places.heap + length_of(word)
        return await self._counted(Brk(address - self._entry.mm.brk), is_address=True)

    async def _mincore(self, words: list[str]) -> str:
        before = (self._entry.minflt, self._entry.majflt)
        answer = await self._ask(MincoreRange(*self._range(words)))
        if isinstance(answer, int):
            result = result_text(answer)
        else:
            result = "".join(map(str, answer)) or "0"
        return result + self._faults_since(before)

    async def _access(self, address: int, data: bytes | None, length: int) -> str:
        """Load or store bytes of one page; return the fault that ended it, or nothing."""
        kernel, mm, vpn = self._kernel, self._entry.mm, address >> PAGE_SHIFT
        before = page_token(kernel, mm, vpn)
        result: TouchResult = await self._ask(Touch(address, length, write=data is not None))
        if result.fault is not None:
            return self._fault_text(result.fault)
        if data is not None:
            after = page_token(kernel, mm, vpn)
            self._contents.store(before, after, address % PAGE_SIZE, data)
        return ""

    def _fault_text(self, fault: CaughtFault) -> str:
        if fault.signal == SIGSEGV:
            name = "SEGV_MAPERR" if fault.code == SEGV_MAPERR else "SEGV_ACCERR"
        else:
            name = "BUS_ADRERR"
        return f"{name} {self._places.text(fault.address)}"

    async def _read(self, words: list[str]) -> str:
        before = (self._entry.minflt, self._entry.majflt)
        address, data = self._places.address(words[0]), b""
        while len(data) < WORD_BYTES:
            at = address + len(data)
            nr = min(WORD_BYTES - len(data), PAGE_SIZE - at % PAGE_SIZE)
            fault = await self._access(at, None, nr)
            if fault:
                return fault + self._faults_since(before)
            page = self._contents.of(page_token(self._kernel, self._entry.mm, at >> PAGE_SHIFT))
            data += page[at % PAGE_SIZE :][:nr]
        return f"{int.from_bytes(data, 'little'):#x}" + self._faults_since(before)

    async def _write(self, words: list[str]) -> str:
        before = (self._entry.minflt, self._entry.majflt)
        address = self._places.address(words[0])
        data = (value_of(words[1]) % (1 << 64)).to_bytes(WORD_BYTES, "little")
        done = 0
        while done < WORD_BYTES:
            at = address + done
            nr = min(WORD_BYTES - done, PAGE_SIZE - at % PAGE_SIZE)
            fault = await self._access(at, data[done : done + nr], nr)
            if fault:
                return fault + self._faults_since(before)
            done += nr
        return "ok" + self._faults_since(before)

    async def _touch(self, words: list[str]) -> str:
        address, length = self._range(words)
        nr_pages = length >> PAGE_SHIFT
        addresses = [address + page * PAGE_SIZE for page in range(nr_pages)]
        return await self._touch_each(addresses, write=words[2].startswith("w"))

    async def _touch_down(self, words: list[str]) -> str:
        address, length = self._range(words)
        nr_pages = length >> PAGE_SHIFT
        addresses = [address + page * PAGE_SIZE for page in reversed(range(nr_pages))]
        return await self._touch_each(addresses, write=words[2].startswith("w"))

    async def _stackgrow(self, words: list[str]) -> str:
        start = self._places.stack_end - STACK_PAGES * PAGE_SIZE
        addresses = [start - page * PAGE_SIZE for page in range(1, int(words[0]) + 1)]
        return await self._touch_each(addresses, write=True)

    async def _touch_each(self, addresses: Sequence[int], *, write: bool) -> str:
        before = (self._entry.minflt, self._entry.majflt)
        done, fault = 0, ""
        for address in addresses:
            fault = await self._access(address, TOUCHED if write else None, 1)
            if fault:
                break
            done += 1
        return f"{done} {fault}".rstrip() + self._faults_since(before)

    async def _fread(self, words: list[str]) -> str:
        offset, fd = length_of(words[0]), self._fds["file"]
        answer = await self._ask(Read(fd, WORD_BYTES, offset))
        if answer != WORD_BYTES:
            return result_text(answer)
        inode, data = self._entry.files[fd].inode, b""
        while len(data) < WORD_BYTES:
            at = offset + len(data)
            page = self._contents.of(file_token(self._kernel, inode, at >> PAGE_SHIFT))
            data += page[at % PAGE_SIZE :][: WORD_BYTES - len(data)]
        return f"{int.from_bytes(data, 'little'):#x}"

    async def _fwrite(self, words: list[str]) -> str:
        offset = length_of(words[0])
        data = (value_of(words[1]) % (1 << 64)).to_bytes(WORD_BYTES, "little")
        done = 0
        while done < WORD_BYTES:
            at = offset + done
            nr = min(WORD_BYTES - done, PAGE_SIZE - at % PAGE_SIZE)
            answer = await self._store_to_file(at, data[done : done + nr])
            if answer < 0:
                return result_text(done or answer)
            done += nr
        return result_text(done)

    async def _ftruncate(self, words: list[str]) -> str:
        length, fd = length_of(words[0]), self._fds["file"]
        inode, index = self._entry.files[fd].inode, length >> PAGE_SHIFT
        before = file_token(self._kernel, inode, index)
        result = await self._counted(Ftruncate(fd, length))
        after, inside = file_token(self._kernel, inode, index), length % PAGE_SIZE
        if after != before and inside:
            self._contents.store(before, after, inside, bytes(PAGE_SIZE - inside))
        return result

    async def _fsync(self, _words: list[str]) -> str:
        return await self._counted(Fsync(self._fds["file"]), counts=False)

    async def _setrlimit(self, words: list[str]) -> str:
        if words[1] == "unlimited":
            value = RLIM_INFINITY
        elif words[1].startswith("+"):
            sizes = self._reporter.sizes()
            now = {"AS": sizes.size, "DATA": sizes.data}.get(words[0], sizes.lck)
            value = now * PAGE_SIZE + length_of(words[1][1:])
        else:
            value = length_of(words[1])
        hard = value if words[2] == "hard" else None
        return await self._counted(Setrlimit(words[0], value, hard), counts=False)

    async def _uid(self, words: list[str]) -> str:
        mm = self._entry.mm
        self._entry.uid = int(words[0])
        mm.cap_sys_admin = mm.cap_ipc_lock = self._entry.uid == 0
        return "0"

    async def _vm(self, _words: list[str]) -> str:
        return self._reporter.vm_line()

    async def _statm(self, _words: list[str]) -> str:
        return self._reporter.statm_line()

    async def _commit(self, _words: list[str]) -> str:
        return f"{self._reporter.sizes().commit - self._reporter.base.commit:+d}"

    async def _smaps(self, _words: list[str]) -> str:
        return "\n".join(["smaps", *self._reporter.smaps()])

    async def _oom_score(self, _words: list[str]) -> str:
        return str(self._reporter.oom_score())

    async def _oom_adj(self, words: list[str]) -> str:
        return result_text(self._entry.set_oom_score_adj(int(words[0])))


def result_text(answer: int) -> str:
    """Return a number, or the name of an errno."""
    if -ERRNO_MAX <= answer < 0:
        if answer == -errno.EOPNOTSUPP:  # one of two names
            return "EOPNOTSUPP"
        return errno.errorcode.get(-answer, f"E{-answer}")
    return str(answer)
