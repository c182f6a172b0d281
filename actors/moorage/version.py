"""The version of moorage; setup.cfg and `hello` take it from here."""

VERSION = "0.1.0"
