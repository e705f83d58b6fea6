"""What can go wrong with stored vectors.

VectorStoreError
├── BadVectorFile      a file is damaged, or not what it is said to be; the message says which and why
├── ImportRefused      a file of another tool can't be taken as a vector of this model; the message says why
├── VectorExists       another vector has this id
├── VectorNotFound     there is no such vector
├── ReadOnlyVectors    it lies in a place that is only read, such as the package's own
└── StoreUnreachable   the place the vectors are kept in can't be read or written
"""


class VectorStoreError(Exception):
    """Base of all; the message is one line for whoever asked."""


class BadVectorFile(VectorStoreError, ValueError):
    pass


class ImportRefused(VectorStoreError, ValueError):
    pass


class VectorExists(VectorStoreError, FileExistsError):
    pass


class VectorNotFound(VectorStoreError, LookupError):
    pass


class ReadOnlyVectors(VectorStoreError):
    pass


class StoreUnreachable(VectorStoreError, OSError):
    pass
