"""What can go wrong while documents are read, kept and searched.

Each error also inherits the standard type that a caller would expect, and its message is
written for the person who has to act: it says what is wrong and names the fix.

    HousewordRetrievalError
    ├── UnsupportedFile (ValueError)      a type that is not read at all
    ├── InvalidFile (ValueError)          a readable type, but not this file
    │   └── ParseTimeout (TimeoutError)   it took more time or memory than it may
    ├── FilterError (ValueError)          a filter that cannot be understood
    ├── InvalidAttributes (ValueError)    attributes that cannot be kept
    ├── EmbedderError (ValueError)        a model that cannot be used as an embedder
    ├── RerankerError (ValueError)        a model that cannot be used as a cross-encoder
    ├── Cancelled                         the caller asked to stop
    ├── NotFound (KeyError)               no such store or document
    ├── Conflict (ValueError)             an id that is already taken
    ├── NotBuilt (RuntimeError)           a search model that lacks vectors of its store
    ├── StorageFull (OSError)             the disk has no room left
    └── OutdatedSQLite (RuntimeError)     a SQLite that can corrupt the database
"""


class HousewordRetrievalError(Exception):
    """Any error of this package."""


class UnsupportedFile(HousewordRetrievalError, ValueError):
    """The file's type is not among those that can be read."""


class InvalidFile(HousewordRetrievalError, ValueError):
    """The file is of a supported type but holds no readable text."""


class ParseTimeout(InvalidFile, TimeoutError):
    """Reading the file passed the limit of time or memory."""


class FilterError(HousewordRetrievalError, ValueError):
    """The filter is malformed; the message names the part."""


class InvalidAttributes(HousewordRetrievalError, ValueError):
    """The attributes hold a key or a value that cannot be kept."""


class EmbedderError(HousewordRetrievalError, ValueError):
    """The model cannot serve as an embedder."""


class RerankerError(HousewordRetrievalError, ValueError):
    """The model cannot serve as a cross-encoder."""


class ReaderError(HousewordRetrievalError, ValueError):
    """The model cannot serve as a reader."""


class Cancelled(HousewordRetrievalError):
    """The caller's `cancelled()` answered true; nothing was stored."""


class NotFound(HousewordRetrievalError, KeyError):
    """No such store or document."""

    def __str__(self) -> str:
        # KeyError would show the message in quotation marks.
        return str(self.args[0]) if self.args else "not found"


class Conflict(HousewordRetrievalError, ValueError):
    """An object with this id exists already."""


class NotBuilt(HousewordRetrievalError, RuntimeError):
    """Passages of the store are not embedded by this search model yet."""


class StorageFull(HousewordRetrievalError, OSError):
    """The disk has no room left; nothing of the change was kept."""


class OutdatedSQLite(HousewordRetrievalError, RuntimeError):
    """The SQLite library is older than the first one that is safe in WAL mode."""
