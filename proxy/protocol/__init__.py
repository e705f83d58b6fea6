"""The wire: msgspec structs of what clients send and read, one file per endpoint family. No behaviour lives here."""
