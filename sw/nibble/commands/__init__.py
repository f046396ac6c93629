"""One module a sub-command: options in, one call into a package, tables and JSON out."""
