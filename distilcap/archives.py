"""Members of `.tar` archives from outside: their headers take no more memory than headers need."""

from __future__ import annotations

import tarfile

__all__ = ["Member"]

_LARGEST = 1 << 20  # bytes of a long name, or of what else PAX says of a member
_READ_WHOLE = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Member(tarfile.TarInfo):
    """To be given to `tarfile.open` as `tarinfo`: headers that are read whole have a largest size.

    Where a sparse file's pieces lie, a list of any length behind its header, is not read: it is sparse, which
    is enough to refuse it.

    Raises:
        tarfile.ReadError: one is larger, or the next member's place is behind such a list; where members are
            listed.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _READ_WHOLE and self.size > _LARGEST:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE and self._sparse_structs[1]:  # type: ignore[attr-defined]
            raise tarfile.ReadError("a sparse file of many pieces")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _proc_gnusparse_10(self, member: tarfile.TarInfo, *_: object) -> None:
        member.sparse = b""
