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

    Raises:
        tarfile.ReadError: one is larger; where members are listed.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _READ_WHOLE and self.size > _LARGEST:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]
